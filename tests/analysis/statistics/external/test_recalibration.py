import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from analysis.statistics.external.recalibration import part_for_fitting, recalibrated_classes, recalibrated_labels
from analysis.statistics.resampling import Sample


def test_a_known_distortion_of_classes_is_undone():
    generator = np.random.default_rng(0)
    logs = log_softmax(generator.normal(size=(4000, 3)) * 1.5, axis=1)
    labels = np.array([generator.choice(3, p=row) for row in np.exp(logs)])
    distorted = softmax(logs * 2.0 + np.array([1.0, 0.0, -1.0]), axis=1)
    fitted = recalibrated_classes(distorted, labels)
    assert fitted.temperatures[0] == pytest.approx(2.0, rel=0.1)
    assert sum(fitted.biases) == pytest.approx(0, abs=1e-9)
    assert np.abs(fitted.apply(distorted) - np.exp(logs)).mean() < 0.02


def test_a_known_distortion_of_labels_is_undone():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(6000, 2)) * 2
    labels = (generator.random((6000, 2)) < expit(logits)).astype(np.int64)
    distorted = expit(logits * np.array([0.5, 3.0]) + np.array([1.0, -2.0]))
    fitted = recalibrated_labels(distorted, labels)
    assert fitted.temperatures == pytest.approx([0.5, 3.0], rel=0.1)
    assert np.abs(fitted.apply(distorted) - expit(logits)).mean() < 0.02


def test_separated_classes_are_as_certain_as_their_number_allows():
    probabilities, labels = np.array([[0.9, 0.1], [0.2, 0.8]] * 10), np.array([0, 1] * 10)
    expected = np.array([[21 / 22, 1 / 22], [1 / 22, 21 / 22]] * 10)
    np.testing.assert_allclose(recalibrated_classes(probabilities, labels).apply(probabilities), expected, atol=1e-3)
    of_labels = recalibrated_labels(probabilities, np.eye(2, dtype=np.int64)[labels])
    np.testing.assert_allclose(of_labels.apply(probabilities), expected, atol=1e-3)


def test_the_part_has_a_share_of_the_groups_of_each_class():
    labels, groups = np.repeat([0] * 40 + [1] * 20, 3), np.repeat(np.arange(60), 3)
    part = part_for_fitting(Sample(labels, groups, ("a", "b"), "auroc"), 0.25)
    assert np.bincount(labels[part]).tolist() == [30, 15]
    assert not set(groups[part]) & set(groups[~part])
