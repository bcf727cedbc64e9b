import dataclasses

import optuna
from sklearn.metrics import balanced_accuracy_score

from analysis.report.summary import summary
from tests.analysis.report.report_inputs import add_trial, made_up_search, with_result


def test_the_summary_states_the_search_and_its_best_trial(search):
    text = summary(search, None)
    assert "120 images of 3 classes, in 5 trials of up to 3 epochs" in text
    assert "(3 ran in full, 1 stopped at a rung, 1 failed)" in text
    assert "Trial 1 (scratch_cnn) was the best; it reached 0.8000 on tune." in text
    assert "test set is still sealed" in text


def test_the_test_score_is_that_of_the_ensemble_with_its_interval(search, ensemble):
    text = summary(search, ensemble)
    labels = search.data.labels[search.data.splits["test"]]
    predicted = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions).argmax(axis=1)
    value = f"{balanced_accuracy_score(labels, predicted):.3f}"
    low, high = ensemble.evaluation.ensemble.intervals["balanced_accuracy"]
    assert f"balanced_accuracy {value} [{low:.3f}, {high:.3f}] (95% interval)" in text
    assert f"{len(labels)} images in" in text
    assert f"was {ensemble.result.openings.describe()}." in text
    assert text.endswith(ensemble.outcome)
    undefined = dataclasses.replace(ensemble.evaluation.ensemble, metrics={}, intervals={})
    evaluation = dataclasses.replace(ensemble.evaluation, ensemble=undefined)
    assert "balanced_accuracy undefined." in summary(search, with_result(ensemble, evaluation=evaluation))


def test_searches_without_trials_or_scores_have_a_summary(small_data):
    empty = optuna.create_study(study_name="empty", direction="maximize")
    assert "in 0 trials of up to 3 epochs (none yet) with 0 networks." in summary(
        made_up_search(small_data, empty), None
    )
    diverged = optuna.create_study(study_name="diverged", direction="maximize")
    add_trial(diverged, float("nan"), epochs=1, state="FAIL")
    assert "it reached no finite value on tune." in summary(made_up_search(small_data, diverged), None)
