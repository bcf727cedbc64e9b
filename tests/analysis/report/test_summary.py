import dataclasses

import numpy as np
import optuna
from sklearn.metrics import balanced_accuracy_score

from analysis.report.summary import about_search, opening
from analysis.statistics.baselines import NEIGHBOUR, baseline_predictions
from tests.analysis.report.report_inputs import add_trial, made_up_ensemble, made_up_search, made_up_study, with_result
from trainables.core.data.fact import Fact
from trainables.core.serving.combining.combine import Combination


def text_of(search, ensemble=None):
    """The section about the search."""
    return about_search(search, ensemble).blocks[0].paragraphs[1]


def test_the_search_and_its_best_trial_are_stated(search):
    first = opening(search, None)
    assert "120 images of 3 classes, in 5 trials of up to 3 epochs" in first.summary
    assert "(3 ran in full, 1 stopped early, 1 failed)" in first.summary
    assert "Trial 1 (scratch_cnn) was the best; it reached 0.8000 on tune." in text_of(search)
    assert "test set is still sealed" in first.summary
    assert first.scores is None


def test_the_test_score_stands_beside_the_baselines_on_the_same_images(search, ensemble):
    first = opening(search, ensemble)
    labels = search.data.labels[search.data.splits["test"]]
    predicted = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions).argmax(axis=1)
    value = f"{balanced_accuracy_score(labels, predicted):.3f}"
    low, high = ensemble.evaluation.ensemble.intervals["balanced_accuracy"]
    ours = f"{value} [{low:.3f}, {high:.3f}]"
    copied = balanced_accuracy_score(labels, baseline_predictions(search.data)[NEIGHBOUR].argmax(axis=1))
    assert first.summary.startswith(f"On {len(labels)} test images in ")
    assert f"the model reaches balanced accuracy {ours} (95% interval)." in first.summary
    assert f"the nearest neighbour of raw pixels reaches {copied:.3f} [" in first.summary
    assert "The model is " in first.summary
    cells = [row[1] for row in first.scores.rows]
    assert cells[0] == ours
    assert cells[1].startswith("0.333") and cells[2].startswith(f"{copied:.3f}")
    assert f"was {ensemble.result.openings.describe()}." in text_of(search, ensemble)
    assert text_of(search, ensemble).endswith(ensemble.outcome)


def test_a_score_that_is_undefined_and_missing_predictions_are_said(search, ensemble):
    undefined = dataclasses.replace(ensemble.evaluation.ensemble, metrics={}, intervals={})
    evaluation = dataclasses.replace(ensemble.evaluation, ensemble=undefined)
    without = dataclasses.replace(with_result(ensemble, evaluation=evaluation), test_predictions=None)
    first = opening(search, without)
    assert "balanced accuracy an undefined value." in first.summary
    assert first.scores is None


def test_a_model_like_raw_pixels_is_warned_about(search):
    ensemble = made_up_ensemble(search)
    copied = np.stack([baseline_predictions(search.data)[NEIGHBOUR]] * 2).astype(np.float32)
    same = dataclasses.replace(ensemble, test_predictions=copied)
    assert any("better than copying the label of the training image" in note for note in opening(search, same).notes)


def test_facts_about_the_data_stand_apart_from_warnings(search, ensemble):
    notes = ("3 slices lack a patient", Fact("columns of the table: image = file"), "2 of 9 leak (--split grouped)")
    data = dataclasses.replace(search.data, notes=notes)
    first = opening(dataclasses.replace(search, data=data), ensemble)
    assert first.facts == ("Columns of the table: image = file.",)
    assert "3 slices lack a patient." in first.notes and not any("columns" in note.lower() for note in first.notes)


def test_a_leak_is_said_once(search, ensemble):
    data = dataclasses.replace(search.data, test_twins=2)
    data = dataclasses.replace(data, notes=(f"{data.leak} (--split grouped avoids this)",))
    leaking = dataclasses.replace(search, data=data)
    assert [note for note in opening(leaking, ensemble).notes if data.leak in note.lower()] == [f"{data.leak}."]
    assert opening(leaking, None).notes == (f"{data.leak} (--split grouped avoids this).",)


def test_only_trials_that_vote_are_called_the_model(search, ensemble):
    comparison = ensemble.chosen.comparison
    for weights, said in (
        ((0.0, 1.0), "The model is trial 2, which the rule"),
        ((0.5, 0.5), "The model combines trials 1 and 2 by the rule"),
    ):
        combination = Combination.of(np.array(weights))
        changed = with_result(ensemble, comparison=dataclasses.replace(comparison, combination=combination))
        assert said in text_of(search, changed)


def test_the_rule_may_leave_members_out(search):
    ensemble = made_up_ensemble(search, count=3)
    combination = Combination.of(np.array([0.5, 0.0, 0.5]))
    comparison = dataclasses.replace(ensemble.chosen.comparison, combination=combination)
    said = text_of(search, with_result(ensemble, comparison=comparison))
    assert "The model combines trials 1 and 0, chosen among trials 1, 2 and 0, by the rule" in said


def test_an_ensemble_from_before_the_search_continued_is_said_to_be_so(small_data):
    study = made_up_study()
    ensemble = made_up_ensemble(made_up_search(small_data, study))  # of trials 1 and 2, which reached 0.8 and 0.6
    outdated = "This ensemble was chosen without "

    def notes():
        return [note for note in opening(made_up_search(small_data, study), ensemble).notes if outdated in note]

    assert notes() == []
    add_trial(study, 0.55)  # worse than both
    add_trial(study, 0.99, state="RUNNING")
    assert notes() == []
    add_trial(study, 0.95)
    (note,) = notes()
    assert note.startswith(f"{outdated}trial 7, which would rank above one of its members: the search has continued")
    add_trial(study, 0.7)
    assert notes()[0].startswith(f"{outdated}trials 7 and 8, which")
    said = text_of(made_up_search(small_data, study), ensemble)
    assert "Trial 6 (scratch_cnn) was the best" in said and "The model combines trials 1 and 2 by" in said


def test_searches_without_trials_or_scores_have_an_opening(small_data):
    empty = optuna.create_study(study_name="empty", direction="maximize")
    first = opening(made_up_search(small_data, empty), None)
    assert "in 0 trials of up to 3 epochs (none yet) with 0 networks." in first.summary
    diverged = optuna.create_study(study_name="diverged", direction="maximize")
    add_trial(diverged, float("nan"), epochs=1, state="FAIL")
    assert "it reached no finite value on tune." in text_of(made_up_search(small_data, diverged))


def test_the_title_names_the_classes(search):
    hospital = dataclasses.replace(search, data=dataclasses.replace(search.data, place="/scans/hospital/images/"))
    assert opening(hospital, None).title == (
        ", ".join(search.data.class_names) + ": a model from the images of hospital/images"
    )
