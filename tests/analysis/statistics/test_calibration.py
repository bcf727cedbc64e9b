import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from analysis.statistics.calibration import brier_scores, expected_calibration_error, reliability
from tests.analysis.samples import drawn


def test_brier_score_against_scikit_learn():
    probabilities, sample = drawn(count=1)
    expected = sum(brier_score_loss(sample.labels == label, probabilities[0][:, label]) for label in range(3))
    assert brier_scores(probabilities[0], sample.labels).mean() == pytest.approx(expected)


def test_bins_against_scikit_learn():
    probabilities, sample = drawn(count=1, images=400)
    sure, right = probabilities[0].max(1), probabilities[0].argmax(1) == sample.labels
    accuracy, confidence = calibration_curve(right, sure, n_bins=15)
    bins = reliability(probabilities[0], sample.labels)
    np.testing.assert_allclose([one.accuracy for one in bins], accuracy)
    np.testing.assert_allclose([one.confidence for one in bins], confidence)
    assert sum(one.count for one in bins) == 400


def test_calibration_error_against_a_loop():
    probabilities, sample = drawn(count=1)
    error = 0.0
    for low in range(15):
        inside = [index for index, row in enumerate(probabilities[0]) if low / 15 < row.max() <= (low + 1) / 15]
        if inside:
            hits = np.mean([probabilities[0][index].argmax() == sample.labels[index] for index in inside])
            error += len(inside) / 90 * abs(hits - np.mean([probabilities[0][index].max() for index in inside]))
    assert expected_calibration_error(reliability(probabilities[0], sample.labels)) == pytest.approx(error)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    labels = np.array([0, 1, 2, 0])
    right, wrong = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]
    assert (brier_scores(right, labels).mean(), brier_scores(wrong, labels).mean()) == (0, 2)
    assert [expected_calibration_error(reliability(predicted, labels)) for predicted in (right, wrong)] == [0, 1]
