import dataclasses

import numpy as np
import optuna
import pytest

from analysis.report.figures.learning_curves import best_scores, learning_curves
from analysis.report.figures.style import NothingToDrawError
from analysis.trials import KNOWN, MUTATION, SAMPLER, read_trials
from tests.analysis.report.report_inputs import METRIC, add_trial, made_up_study


def test_curves_are_the_reported_values():
    figure = learning_curves(read_trials(made_up_study()), METRIC, "out-of-fold predictions", (1,), [1], "fold")
    by_name = {trace.name: trace for trace in figure.data}
    assert set(by_name) == {f"trial {number}, scratch_cnn" for number in range(4)}  # trial 4 failed without a report
    np.testing.assert_allclose(by_name["trial 1, scratch_cnn"].y, [0.8 / 3, 1.6 / 3, 0.8])
    assert [name for name, trace in by_name.items() if trace.showlegend] == ["trial 1, scratch_cnn"]
    assert [name for name, trace in by_name.items() if trace.line.dash == "dot"] == ["trial 3, scratch_cnn"]
    assert [shape.x0 for shape in figure.layout.shapes] == [1]
    assert figure.layout.xaxis.title.text == "fold"
    assert figure.layout.yaxis.title.text == f"{METRIC} on out-of-fold predictions"


def test_without_finite_values_there_is_nothing_to_draw():
    study = optuna.create_study(direction="maximize")
    add_trial(study, float("nan"), state="FAIL")
    records = read_trials(study)
    for draw in (learning_curves, best_scores):
        with pytest.raises(NothingToDrawError, match="No trial has reported a finite value"):
            draw(records, METRIC, "tune", *((), []) * (draw is learning_curves))


@pytest.mark.parametrize(
    ("metric", "best_so_far"), [(METRIC, np.maximum.accumulate), ("log_loss", np.minimum.accumulate)]
)
def test_trials_are_drawn_apart_by_their_origin(metric, best_so_far):
    values = (0.5, 0.8, 0.6)
    records = read_trials(made_up_study(values))
    for record in records:
        for epoch in record.epochs:
            epoch.metrics[f"best_{metric}"] = epoch.metrics[f"best_{METRIC}"]
    figure = best_scores(records, metric, "out-of-fold predictions")
    recipes, sampled, best = figure.data
    assert figure.layout.yaxis.title.text == f"best {metric} on out-of-fold predictions"
    assert (recipes.name, sampled.name) == ("recipe", "sampler")
    assert (list(recipes.x), list(sampled.x)) == ([0], [1, 2, 3])
    assert list(sampled.marker.symbol) == ["circle", "circle", "circle-open"]
    np.testing.assert_allclose(best.y, best_so_far([*values, 0.3]))


@pytest.mark.parametrize("origin", [*sorted(KNOWN), MUTATION, SAMPLER])
def test_trials_of_every_origin_are_drawn(origin):
    records = [dataclasses.replace(record, origin=origin) for record in read_trials(made_up_study())]
    assert [trace.name for trace in best_scores(records, METRIC, "tune").data] == [origin, "best so far"]
