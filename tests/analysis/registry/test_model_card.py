from dataclasses import replace

import pytest

from analysis.ensembles.choose_rule import Choice, Compared
from analysis.ensembles.evaluation import Scores
from analysis.statistics.selection_bias import SelectionBias
from tests.analysis.registry.cards import made_up_card
from trainables.core.serving.operating_point import OperatingPoint
from trainables.core.serving.prediction_sets import PredictionSets

LEAK = "1 of 9 test images share their group with training images: test scores measure memory"


@pytest.fixture
def card():
    return made_up_card(notes=(LEAK,))


def test_the_description_has_scores_members_and_data(card):
    text = card.description()
    lines = text.splitlines()
    for line in (
        "## champion of brains: version 4",
        "| select macro_f1 | 0.5000 |",
        "| test macro_f1 | 0.2500 |",
        "| test accuracy | 0.7500 |",
        f"Test split: the published test split, opened 2 times. {LEAK}.",
        f"> **Note:** {LEAK}.",
        "| trial 7 | resnet18 | 0.250 | 0.9000 | [run7](#/experiments/7/runs/run7) |",
        "| trial 3 | vit\\_x | none | 0.8000 | [run3](#/experiments/7/runs/run3) |",
        "| fit | 11 | 5 | 6 |",
        "| test | 9 | 3 | 6 |",
        "tune-predict models:/brains/4 IMAGES --out predictions.csv",
    ):
        assert line in lines, line
    assert f"fingerprint `{'f' * 64}`" in text
    assert "recall/a" not in text
    assert "It is the champion: it has macro\\_f1 0.5000 on select, where version 3 has 0.4000." in text
    assert "greedy selection, chosen on `select` by macro_f1; search `brains-2`." in text


def test_a_soup_is_a_member_with_a_link_to_the_run_of_each_trial_that_it_was_averaged_from(card):
    soup = replace(card.chosen.members[1], soup=(3, 9))
    card = replace(card, chosen=replace(card.chosen, members=(card.chosen.members[0], soup, card.chosen.members[2])))
    links = "[run3](#/experiments/7/runs/run3), [run9](#/experiments/7/runs/run9)"
    assert f"| soup of trials 3, 9 | resnet50 | 0.750 | 0.8500 | {links} |" in card.description().splitlines()
    assert card.tags()["members"] == "trial 7 (resnet18, 0.250), soup of trials 3, 9 (resnet50, 0.750)"


def test_the_description_names_the_operating_point_and_the_promise_of_the_sets(card):
    points = (OperatingPoint("<b>|", 1, False, 0.25, "cost=10"),)
    sets = (PredictionSets(0.9, (0.2, 0.2), False),)
    comparison = card.chosen.comparison
    decided = replace(comparison, combination=replace(comparison.combination, points=points, sets=sets))
    lines = replace(card, chosen=replace(card.chosen, comparison=decided)).description().splitlines()
    assert "Operating point by image: &lt;b&gt;\\| if its probability is at least 0.250 (cost=10)." in lines
    assert "Prediction sets by image: 90% coverage on average over the classes." in lines


def test_scores_have_their_intervals_and_the_model_its_digest(card):
    patients = replace(card.evaluation, ensemble=Scores({"accuracy": 0.5}, {"accuracy": (0.25, 0.75)}))
    scores = Scores({"macro_f1": 0.25, "accuracy": 0.75}, {"accuracy": (0.625, 0.875)})
    evaluation = replace(card.evaluation, ensemble=scores, patients=patients)
    registration = replace(card.registration, sha256="5" * 64)
    with_intervals = replace(card, evaluation=evaluation, registration=registration)
    lines = with_intervals.description().splitlines()
    assert "| test accuracy | 0.7500 [0.6250, 0.8750] |" in lines
    assert "| test macro_f1 | 0.2500 |" in lines
    assert "| test patient_accuracy | 0.5000 [0.2500, 0.7500] |" in lines
    assert f"SHA-256 of the model, which `tune-predict` prints: `{'5' * 64}`." in lines
    assert with_intervals.tags()["model_sha256"] == "5" * 64


def test_averages_over_a_class_of_few_groups_are_marked(card):
    scores = Scores({"macro_f1": 0.25}, {"macro_f1": (0.125, 0.5)})
    patients = replace(card.evaluation, ensemble=scores)
    evaluation = replace(patients, conditional=("<b>|",), patients=patients)
    lines = replace(card, evaluation=evaluation).description().splitlines()
    assert "| test macro_f1 | 0.2500 [0.1250, 0.5000]\\* |" in lines
    assert "| test patient_macro_f1 | 0.2500 [0.1250, 0.5000] |" in lines
    (note,) = [line for line in lines if "conditional" in line]
    assert note.startswith("> **Note:** averages by image and their intervals (\\*) are conditional on")
    assert "test groups of &lt;b&gt;\\| (fewer than 10)" in note


def test_without_a_leak_there_is_no_warning(card):
    text = replace(card, data=replace(card.data, test_twins=0, notes=())).description()
    assert "opened 2 times.\n" in text
    assert "No notes on the data." in text


def test_the_selection_bias_is_described_with_the_score(card):
    chosen = replace(card.chosen, folds=5, selection_bias=SelectionBias(9, 0.5, None, 3, 0.6, None))
    folded = replace(card, chosen=chosen)
    text = folded.description()
    assert "chosen on out-of-fold predictions of 5 folds by macro_f1" in text
    assert "| oof macro_f1 | 0.5000 |" in text.splitlines()
    sentence = f"`oof` is of out-of-fold predictions of 5 folds; {chosen.selection_bias.describe('macro_f1')}."
    assert sentence in text.splitlines()
    assert "| trial | backbone | weight | macro_f1 out of fold | run id |" in text.splitlines()
    assert folded.tags()["oof_macro_f1"] == "0.5000"


def test_names_from_outside_are_no_markup(card):
    assert "| split | images | a | &lt;b&gt;\\| |" in card.description().splitlines()
    text = replace(card, data=replace(card.data, notes=("<script>\n# x",))).summary()
    assert "> **Note:** &lt;script&gt; \\# x." in text.splitlines()


def test_tags_have_the_same_facts(card):
    tags = card.tags()
    assert tags["members"] == "trial 7 (resnet18, 0.250), trial 9 (resnet50, 0.750)"
    assert tags["split"] == "11 fit, 9 test"
    assert tags["test_split"] == f"the published test split; {LEAK}"
    assert tags["notes"] == LEAK
    assert (tags["select_macro_f1"], tags["test_macro_f1"], tags["test_accuracy"]) == ("0.5000", "0.2500", "0.7500")
    assert max(map(len, made_up_card(notes=("x" * 9000,)).tags().values())) == 5000


def test_without_test_scores_the_card_says_so(card):
    """As of members that were picked by hand, without another opening of the test set."""
    sealed = replace(card, evaluation=None)
    text = sealed.description()
    assert "This ensemble was not scored on the test set." in text.splitlines()
    assert "| select macro_f1 | 0.5000 |" in text.splitlines()
    assert "| test macro_f1" not in text
    assert set(card.tags()) - set(sealed.tags()) == {"test_macro_f1", "test_accuracy"}
    assert "not scored on the test set" not in card.description()


def test_scores_and_use_per_patient_are_described(card):
    by_patient = replace(card.evaluation, ensemble=Scores({"macro_f1": 0.375}, {}))
    patients = Choice("macro_f1", (Compared("any-lesion", 0.6, 0.0, 0.0),), "any-lesion", None, {}, ())
    comparison = replace(card.chosen.comparison, patients=patients, figures={"macro_f1": 0.5})
    with_patients = replace(
        card,
        evaluation=replace(card.evaluation, patients=by_patient),
        chosen=replace(card.chosen, comparison=comparison),
    )
    lines = with_patients.description().splitlines()
    assert "| test patient_macro_f1 | 0.3750 |" in lines
    assert "| select macro_f1 | 0.5000 |" in lines
    assert "tune-predict models:/brains/4 IMAGES --per patient --groups FILE" in lines
    assert any("for one row per patient, the column `patient`" in line for line in lines)
    tags = with_patients.tags()
    assert (tags["patient_rule"], tags["test_patient_macro_f1"]) == ("any-lesion", "0.3750")
    assert not any("patient" in line for line in card.description().splitlines())
