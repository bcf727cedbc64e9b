import numpy as np
import optuna
import pytest
from sklearn.metrics import roc_auc_score

from analysis.report.figures.parameters import importance, most_important, parallel_coordinates, slices
from analysis.report.figures.scores import Placed, calibration, confusion, embedded_by_class, embedded_by_mistake, roc
from analysis.report.figures.scores import precision_recall as pr
from analysis.report.figures.trials import MissingError, best_value, learning_curves, panel, plain, recipes
from analysis.trials import read_trials
from tests.analysis.report.report_inputs import METRIC, add_trial, made_up_study
from tests.analysis.samples import NAMES, drawn


@pytest.fixture(scope="module")
def study():
    return made_up_study()


def test_curves_are_what_trials_reported(study):
    figure = learning_curves(read_trials(study), METRIC, (1,), [1])
    by_name = {trace.name: trace for trace in figure.data}
    np.testing.assert_allclose(by_name["trial 1, scratch_cnn"].y, [0.8 / 3, 1.6 / 3, 0.8])
    assert [trace.showlegend for trace in figure.data].count(True) == 1
    assert by_name["trial 3, scratch_cnn"].line.dash == "dot"
    assert len(figure.layout.shapes) == 1
    assert len(figure.data) == 4  # the one that failed has no curve


def test_values_that_are_not_finite_are_left_out():
    study = optuna.create_study(direction="maximize")
    add_trial(study, float("nan"), state="FAIL")
    records = read_trials(study)
    assert best_value(records[0], METRIC) is None
    for draw in (lambda: learning_curves(records, METRIC, (), []), lambda: recipes(records, {0}, METRIC)):
        with pytest.raises(MissingError, match="No trial has reported a finite value"):
            draw()


def test_recipes_stand_apart_from_what_was_searched(study):
    figure = recipes(read_trials(study), {0}, METRIC)
    given, searched, best = figure.data
    assert (list(given.x), list(searched.x)) == ([0], [1, 2, 3])
    assert list(searched.marker.symbol) == ["circle", "circle", "circle-open"]
    np.testing.assert_allclose(best.y, [0.5, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_mattered_is_drawn_from_the_trials_that_ran_in_full(direction):
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(0))
    for _ in range(12):
        trial = study.ask()
        lr = trial.suggest_float("lr", 0, 1)
        trial.suggest_categorical("same", ("always",))
        study.tell(trial, lr)
    assert most_important(study) == ["lr"]
    assert list(importance(study).data[0].y) == ["lr"]
    lines = [trace for trace in parallel_coordinates(study, "metric").data if trace.mode == "lines"]
    best = max(lines, key=lambda trace: trace.y[0] if direction == "maximize" else -trace.y[0])
    assert len(lines) == 12
    assert best.line.color == "rgb(47, 116, 192)"
    assert len(slices(study, "metric").data[0].x) == 12


@pytest.mark.parametrize(
    ("values", "reason"),
    [((), "there is none"), ((0.5,), "there is one"), ((0.5, 0.5), "have the same value")],
)
def test_what_cannot_be_told_of_parameters_says_why(values, reason):
    study = optuna.create_study(direction="maximize")
    for value in values:
        add_trial(study, value)
    for draw in (lambda: importance(study), lambda: slices(study, METRIC), lambda: parallel_coordinates(study, METRIC)):
        assert reason in panel("", "", "", draw).missing


def test_a_figure_that_cannot_be_drawn_is_a_sentence():
    def fails():
        raise ZeroDivisionError("by zero")

    assert panel("", "", "", fails).missing == "It could not be drawn: by zero."


def test_names_from_outside_are_shown_as_they_are():
    assert plain("<script>alert(1)</script>") == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert plain("a" * 5000) == "a" * 27 + "…"
    assert plain("R&D") == "R&amp;D"


def test_confusion_keeps_apart_classes_whose_names_are_cut_alike():
    names = ("x" * 50 + "1", "x" * 50 + "2")
    figure = confusion({"one": [[3, 1], [0, 0]], "other": [[0, 0], [0, 9]]}, names)
    first, second = figure.data
    np.testing.assert_allclose(first.z, [[0.75, 0.25], [0, 0]])  # a class without images has shares of 0
    assert list(first.x) == [0, 1]
    assert (first.visible, second.visible) == (True, False)
    assert [button["label"] for button in figure.layout.updatemenus[0].buttons] == ["one", "other"]


def test_curves_of_classes_are_scikit_learns_and_absent_classes_have_none():
    (probabilities,), sample = drawn(1, 300)
    labels = np.where(sample.labels == 2, 0, sample.labels)
    figure = roc(probabilities, labels, NAMES)
    told = {trace.name for trace in figure.data}
    for index in (0, 1):
        area = roc_auc_score(labels == index, probabilities[:, index])
        assert f"{NAMES[index]} (AUC {area:.3f}, n = {(labels == index).sum()})" in told
    assert len(told) == 3
    assert all(len(trace.x) <= 400 for trace in pr(probabilities, labels, NAMES).data)
    with pytest.raises(MissingError, match="two classes"):
        roc(probabilities, np.zeros(300, np.int64), NAMES)


def test_calibration_draws_a_marker_a_bin():
    from analysis.statistics.calibration import reliability

    (probabilities,), sample = drawn(1, 300)
    bins = reliability(probabilities, sample.labels)
    figure = calibration({"model": bins})
    np.testing.assert_allclose(figure.data[0].x, [bin_.confidence for bin_ in bins])
    np.testing.assert_allclose(figure.data[0].y, [bin_.accuracy for bin_ in bins])


def test_every_image_is_placed_once_in_each_plane():
    labels = np.array([0, 0, 1, 1, 2])
    splits, right = np.array(["fit", "test", "fit", "test", "fit"]), np.array([True, False, True, True, False])
    placed = Placed(np.arange(10.0).reshape(5, 2), labels, splits, right)
    for draw in (embedded_by_class, embedded_by_mistake):
        figure = draw(placed, NAMES)
        assert sorted(x for trace in figure.data for x in trace.x) == [0, 2, 4, 6, 8]
    assert {trace.name for trace in figure.data} == {
        "right, fit (2)",
        "right, test (1)",
        "wrong, fit (1)",
        "wrong, test (1)",
    }
