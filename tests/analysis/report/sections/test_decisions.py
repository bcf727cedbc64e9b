import dataclasses

import numpy as np
import pytest

from analysis.ensembles.decisions import DecisionRules
from analysis.ensembles.tasks.classification import ClassificationResults
from analysis.report.sections.decisions import decision_blocks
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_search, made_up_study, with_result


@pytest.fixture
def inputs(small_data):
    """A search with a healthy class, whose ensemble has an operating point and prediction sets."""
    search = made_up_search(dataclasses.replace(small_data, healthy=small_data.class_names[0]), made_up_study())
    ensemble = made_up_ensemble(search)
    sample = ClassificationResults(search.data).sample("test", "accuracy")
    predictions = ensemble.test_predictions
    comparison = ClassificationResults.compare(predictions, sample, "mean", DecisionRules(coverage=0.8))
    evaluation = ClassificationResults.evaluate(predictions, comparison.combination, sample, 0)
    return search, with_result(ensemble, evaluation=evaluation, comparison=comparison)


def test_the_report_shows_the_operating_point_the_sets_and_the_cost_of_certainty(inputs):
    search, ensemble = inputs
    point, sets, risk = decision_blocks(search, ensemble)
    (scores,) = ensemble.evaluation.ensemble.points
    assert point.title == f"Operating point by image: {scores.point.describe()}"
    assert [row[:2] for row in point.rows] == [(name, scores.describe(name)) for name in scores.metrics()]
    of_sets = ensemble.evaluation.ensemble.sets
    assert sets.title.startswith("Prediction sets by image: 80% coverage")
    assert sets.rows[0][2] == f"{of_sets.covered} of {of_sets.units}"
    (curve,) = risk.figure.data
    data = search.data
    combined = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions)
    wrong = combined.argmax(axis=1) != data.labels[data.splits["test"]]
    assert curve.x[-1] == 1 and curve.y[-1] == pytest.approx(np.mean(wrong))  # all are accepted
    assert curve.y[0] in (0, 1)


def test_without_point_and_sets_only_the_curve_is_left(inputs):
    search, ensemble = inputs
    plain = dataclasses.replace(ensemble.evaluation.ensemble, points=(), sets=None)
    without = with_result(ensemble, evaluation=dataclasses.replace(ensemble.evaluation, ensemble=plain))
    (risk,) = decision_blocks(search, without)
    assert risk.figure is not None and "area" not in risk.caveat
    (missing,) = decision_blocks(search, dataclasses.replace(without, test_predictions=None, why_no_predictions="lost"))
    assert missing.figure is None and "lost" in missing.missing
