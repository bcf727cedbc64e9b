from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from analysis.ensembles.evaluation import Evaluation, PointScores, Scores
from analysis.statistics.resampling import Sample
from tests.tuning.ensemble.made_up import made_up_data
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.operating_point import OperatingPoint, disease_point
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.outcomes import at_prevalence, differences, outcomes_of
from tuning.evaluate.scored import Scored
from tuning.evaluate.scores import _curve_at_prevalence, _outcomes

POINT = OperatingPoint("ill", 1, False, 0.4, "youden")


def evaluation(auroc, interval, accuracy=0.8):
    point = PointScores(POINT, (18, 2, 40, 10), (20, 50), {"sensitivity": (0.7, 0.97), "specificity": (0.67, 0.89)})
    scores = Scores({"auroc": auroc, "accuracy": accuracy}, {"auroc": interval} if interval else {}, points=(point,))
    return Evaluation(scores, (scores,), 0, None, 70, (), ())


def test_reliability_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    ill = generator.random(200)
    labels = (generator.random(200) < ill**2).astype(np.int64)
    sample = Sample(labels, np.arange(200), ("well", "ill"), "auroc")
    (outcome,) = outcomes_of(np.stack([1 - ill, ill], axis=1), sample, 1, None)
    shares, means = calibration_curve(labels, ill, n_bins=10)
    assert [bin_.accuracy for bin_ in outcome.reliability] == pytest.approx(shares)
    assert [bin_.confidence for bin_ in outcome.reliability] == pytest.approx(means)
    assert (outcome.name, outcome.positives) == ("ill", labels.sum())
    assert outcome.line.intercept < 0


def test_a_single_outcome_has_neither_line_nor_curve():
    sample = Sample(np.zeros(20, dtype=np.int64), np.arange(20), ("well", "ill"), "auroc")
    (outcome,) = outcomes_of(np.full((20, 2), 0.5), sample, 1, None)
    assert outcome.line is None and outcome.curve is None


def test_predictive_values_of_each_operating_point():
    (found,) = at_prevalence(evaluation(0.9, None), 0.1)
    assert found.ppv.value == pytest.approx(0.9 * 0.1 / (0.9 * 0.1 + 0.2 * 0.9))
    assert found.ppv.interval[0] < found.ppv.value < found.ppv.interval[1]
    assert (found.positive, found.unit) == ("ill", "image")


def scored(names, points=()):
    """100 images of classes that exclude each other, and random probabilities of them."""
    generator = np.random.default_rng(2)
    labels = generator.integers(0, len(names), 100)
    data = replace(made_up_data(), class_names=names, labels=labels, groups=np.arange(100), healthy="well",
                   splits={"test": np.arange(100)})  # fmt: skip
    odds = generator.random((100, len(names))) + np.eye(len(names))[labels]
    external = ExternalData(None, data, np.arange(len(names)), {})
    rule = replace(Combination.of(np.ones(1)), points=points)
    return Scored(external, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), rule, "auroc")


def test_of_three_classes_a_prevalence_is_that_of_any_disease():
    names = ("a", "b", "well")
    three = scored(names, (disease_point(names, "well", 0.4, "youden", "image"),))
    found = _curve_at_prevalence(three, 0.05)
    labels = three.data.data.labels
    ill, called = labels != 2, 1 - three.predictions[:, 2] >= 0.3
    benefit = 0.05 * called[ill].mean() - 0.95 * called[~ill].mean() * 0.3 / 0.7
    assert (found.positive, found.curve.prevalence) == ("any but well", 0.05)
    assert found.curve.model[29] == pytest.approx(benefit) and found.curve.thresholds[29] == 0.3
    shares = {outcome.name: outcome.curve.prevalence for outcome in _outcomes(three, 0.05)}
    assert shares == {name: np.mean(labels == label) for label, name in enumerate(names)}
    assert _curve_at_prevalence(three, None) is None and _curve_at_prevalence(scored(names), 0.05) is None


def test_of_two_classes_a_prevalence_is_that_of_the_disease():
    names = ("ill", "well")
    two = scored(names, (disease_point(names, "well", 0.4, "youden", "image"),))
    assert [(outcome.name, outcome.curve.prevalence) for outcome in _outcomes(two, 0.05)] == [("ill", 0.05)]
    assert _curve_at_prevalence(two, 0.05) is None


def test_differences_need_both_scores_and_intervals_need_both_intervals():
    external, internal = evaluation(0.8, (0.7, 0.9)), evaluation(0.9, (0.85, 0.95))
    by_name = {difference.metric: difference for difference in differences(external, internal)}
    assert by_name["auroc"].interval == pytest.approx((-0.1 - np.hypot(0.1, 0.05), -0.1 + np.hypot(0.1, 0.05)))
    assert by_name["accuracy"].interval is None
    lacking = differences(replace(external, absent=("c",)), internal)
    assert [difference.metric for difference in lacking] == ["accuracy"]  # averages over other classes
    only_images = differences(external, replace(internal, patients=internal))
    assert {difference.metric for difference in only_images} == {"auroc", "accuracy"}
    of_patients = differences(replace(external, patients=external), replace(internal, patients=internal))
    assert "patient_auroc" in {difference.metric for difference in of_patients}
