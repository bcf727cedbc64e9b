import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, classification_report, confusion_matrix, roc_auc_score

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.serialization import from_json, to_json
from analysis.ensembles.tasks.classification import ClassificationResults, score
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample, permutation_test
from tests.analysis.samples import NAMES, drawn, lesion_slices
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.patient_rule import PatientRule

LABELS = np.repeat([0, 1], [12, 7])
GROUPS = np.concatenate([np.arange(12), np.full(7, 99)])


def evaluated(groups=GROUPS, weights=(0.75, 0.25)):
    right = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    wrong = np.eye(3)[np.ones(19, dtype=int)] * 0.6 + 0.4 / 3
    wrong[12:14] = np.eye(3)[0] * 0.6 + 0.4 / 3
    sample = Sample(LABELS, groups, NAMES, "accuracy")
    return ClassificationResults.evaluate(
        np.stack([right, wrong]), Combination.of(np.array(weights)), sample, best_member=0
    )


def test_an_ensemble_and_each_member_are_scored_in_full():
    scored = evaluated()
    assert scored.ensemble.metrics["accuracy"] == 1.0
    assert [member.metrics["accuracy"] for member in scored.members] == pytest.approx([1.0, 5 / 19])
    assert scored.absent == ("c",)
    predicted = np.where(np.isin(np.arange(19), (12, 13)), 0, 1)
    assert scored.members[1].confusion == confusion_matrix(LABELS, predicted, labels=[0, 1, 2]).tolist()
    expected = classification_report(LABELS, predicted, labels=[0, 1, 2], target_names=NAMES, zero_division=0)
    assert scored.members[1].report == expected


def test_a_class_with_few_groups_is_counted_and_makes_averages_conditional():
    scored = evaluated()
    assert [recall.describe() for recall in scored.members[1].recalls] == ["0.000 [0.000, 0.288]", "5/7, from 1 group"]
    assert scored.conditional == ("b",)
    assert [note.split(":")[0] for note in scored.caveats()] == [
        "no test image of c",
        "averages and their intervals (*) are conditional on the few test groups of b (fewer than 10)",
    ]
    assert {"accuracy", "balanced_accuracy", "brier", "log_loss", "recall/a"} <= scored.ensemble.intervals.keys()
    assert not {"recall/b", "f1/b", "ece"} & scored.ensemble.intervals.keys()


def test_images_of_one_class_have_only_figures_that_need_one():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), 30)
    found = score(probabilities, Sample(np.zeros(30, int), np.arange(30), ("well", "ill"), "auroc", "well"))
    assert found.metrics.keys() == {"accuracy", "recall/well", "log_loss", "brier", "ece"}
    assert found.intervals.keys() == found.metrics.keys() - {"ece"}


def test_with_groups_enough_nothing_is_conditional():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    probabilities, _ = drawn(count=2)
    scored = ClassificationResults.evaluate(
        probabilities, Combination.of(np.ones(2)), Sample(labels, np.arange(90), NAMES, "accuracy"), best_member=1
    )
    assert scored.conditional == ()
    assert scored.caveats() == []
    assert all(recall.interval is not None for recall in scored.ensemble.recalls)
    for name, (low, high) in scored.ensemble.intervals.items():
        assert low <= scored.ensemble.metrics[name] <= high, name


def test_the_ensemble_is_tested_against_the_member_that_was_best_on_select():
    probabilities, sample = drawn(count=3, groups=20)
    combination = Combination.of(np.ones(3))
    scored = ClassificationResults.evaluate(probabilities, combination, sample, best_member=2)
    assert scored.p_value == permutation_test(combination.apply(probabilities), probabilities[2], sample)
    assert scored.groups == 20


def test_there_is_no_test_against_itself_or_with_few_groups():
    assert evaluated(weights=(1, 0)).p_value is None
    assert evaluated(weights=(0, 1)).p_value is not None
    assert evaluated(groups=np.arange(19) % 5, weights=(0, 1)).p_value is None


def test_undefined_metrics_are_left_out():
    probabilities, sample = drawn(count=1)
    first_class = np.flatnonzero(sample.labels == 0)
    scored = ClassificationResults.evaluate(
        probabilities[:, first_class], Combination.of(np.ones(1)), sample.take(first_class), best_member=0
    )
    assert "auroc" not in scored.ensemble.metrics
    json.dumps(to_json(scored), allow_nan=False)


def test_an_ensemble_and_its_members_are_scored_by_patient():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(45), 3)
    labels = groups % 3
    odds = np.exp(generator.normal(size=(2, 135, 3)) + np.eye(3)[labels])
    probabilities = odds / odds.sum(axis=2, keepdims=True)
    sample = PatientSample(labels, groups, NAMES, "patient_accuracy", "a", patients=groups)
    combination = Combination("geometric mean", (0.3, 0.7), (1.0, 2.0), patients=PatientRule("any-lesion", 0))
    scored = ClassificationResults.evaluate(probabilities, combination, sample, best_member=1)

    def spokesmen(model):
        """The image of each patient that looks least like the healthy class a."""
        return np.array([min(model[groups == patient], key=lambda image: image[0]) for patient in range(45)])

    truth = np.arange(45) % 3
    models = [spokesmen(model) for model in (combination.apply(probabilities), *probabilities)]
    found = [scored.patients.ensemble, *scored.patients.members]
    for model, scores in zip(models, found, strict=True):
        predicted = model.argmax(axis=1)
        assert scores.confusion == confusion_matrix(truth, predicted).tolist()
        assert scores.metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert scores.metrics["auroc"] == pytest.approx(roc_auc_score(truth, model, multi_class="ovr"))
    by_image = ClassificationResults.evaluate(probabilities, combination, sample.by_image, best_member=1)
    assert replace(scored, patients=None) == by_image
    assert (scored.units, scored.patients.units, by_image.patients) == (135, 45, None)
    assert scored.metrics()["patient_accuracy"] == scored.patients.ensemble.metrics["accuracy"]
    assert scored.by("patient_accuracy") == (scored.patients, "accuracy")
    one_of_each = Sample(truth, np.arange(45), NAMES, "accuracy", "a")
    assert scored.patients.p_value == permutation_test(models[0], models[2], one_of_each)
    assert from_json(json.loads(json.dumps(to_json(scored))), Evaluation) == scored


def by_patient(with_lesion, patients):
    """Evaluate five slices of each patient, of which those with a lesion have three."""
    labels, groups = lesion_slices(with_lesion, patients, slices=5, lesions=3)
    score = np.clip(0.3 + 0.3 * labels + np.random.default_rng(1).normal(0, 0.2, labels.size), 0.01, 0.99)
    sample = PatientSample(labels, groups, ("healthy", "lesion"), "patient_auroc", "healthy", patients=groups)
    return ClassificationResults.evaluate(np.stack([[1 - score, score]]).mT, Combination.of(np.ones(1)), sample, 0)


def test_a_class_of_few_patients_makes_averages_by_patient_conditional():
    scored = by_patient(40, 43)
    assert (scored.mark, scored.patients.mark) == ("", "*")
    assert scored.caveats() == [
        "averages by patient and their intervals (*) are conditional on the few test groups of healthy (fewer than "
        "10): other patients may give other values"
    ]
    assert by_patient(5, 43).caveats() == [
        f"averages by {unit} and their intervals (*) are conditional on the few test groups of lesion (fewer than 10): "
        "other patients may give other values"
        for unit in ("image", "patient")
    ]


@pytest.mark.parametrize(("with_lesion", "note"), [(43, "no test patient of healthy"), (0, "no test image of lesion")])
def test_a_class_that_no_patient_has_is_named_once(with_lesion, note):
    assert by_patient(with_lesion, 43).caveats() == [note]
