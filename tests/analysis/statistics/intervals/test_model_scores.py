from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import Sample, few_groups
from tests.analysis.samples import NAMES, drawn


def test_each_proportion_counts_its_own_images():
    """Each image a group of its own: recalls and precisions have Wilson intervals of their images."""
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], [60, 140])
    predicted = np.where(generator.random(200) < 0.7, labels, 1 - labels)
    bounds = intervals(
        np.eye(2)[predicted] * 0.8 + 0.1, Sample(labels, np.arange(200), ("a", "b"), "accuracy"), count=5
    )
    right = predicted == labels
    for label, name in enumerate("ab"):
        for metric, counted in {"recall": labels == label, "precision": predicted == label}.items():
            expected = stats.binomtest(int(right[counted].sum()), int(counted.sum())).proportion_ci(method="wilson")
            assert bounds[f"{metric}/{name}"] == pytest.approx(expected, abs=0.01)


def test_averages_and_areas_against_a_loop_over_groups():
    """With many groups, all methods agree with the percentiles of a bootstrap."""
    probabilities, sample = drawn(count=1, images=600, groups=300, skill=2)
    bounds = intervals(probabilities[0], sample, count=400)
    generator = np.random.default_rng(5)
    recalls, areas = [], []
    class_of = {group: np.bincount(sample.labels[sample.groups == group]).argmax() for group in set(sample.groups)}
    strata = [[group for group, majority in class_of.items() if majority == label] for label in range(3)]
    for _ in range(400):
        picked = [group for stratum in strata for group in generator.choice(stratum, len(stratum))]
        images = np.concatenate([np.flatnonzero(sample.groups == group) for group in picked])
        recalls.append(balanced_accuracy_score(sample.labels[images], probabilities[0][images].argmax(1)))
        areas.append(roc_auc_score(sample.labels[images], probabilities[0][images], multi_class="ovr"))
    np.testing.assert_allclose(bounds["balanced_accuracy"], np.quantile(recalls, [0.025, 0.975]), atol=0.02)
    np.testing.assert_allclose(bounds["auroc"], np.quantile(areas, [0.025, 0.975]), atol=0.02)


def test_scores_stay_within_their_range():
    labels = np.repeat([0, 1, 2], 12)
    perfect = Sample(labels, np.arange(36), NAMES, "accuracy", "a", ordered=True)
    bounds = intervals(np.eye(3)[labels], perfect, count=5)
    assert set(perfect.scores(np.eye(3)[labels])) == set(bounds)
    for name, (low, high) in bounds.items():
        best = 0 if name in ("log_loss", "mean_absolute_error") else 1
        assert best == pytest.approx(low if best == 0 else high, abs=1e-9)
        assert high - low > 0.02 or name == "log_loss"
    assert bounds["recall/a"][0] < 0.8
    assert bounds["mean_absolute_error"][1] > 0.1
    worst = intervals(np.eye(3)[2 - labels], perfect, count=5)["quadratic_weighted_kappa"]
    assert worst[0] == -1


def test_intervals_of_groups_are_wider_than_those_of_images():
    generator = np.random.default_rng(0)
    labels = np.repeat(generator.integers(0, 2, 40), 8)
    right = np.repeat(generator.random(40) < 0.7, 8)  # all eight images of a patient are right or wrong together
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)]
    for metric in ("accuracy", "balanced_accuracy", "auroc", "log_loss"):
        width = {}
        for name, groups in {"images": np.arange(320), "groups": np.repeat(np.arange(40), 8)}.items():
            low, high = intervals(probabilities, Sample(labels, groups, ("a", "b"), "accuracy"))[metric]
            width[name] = high - low
        assert width["groups"] / width["images"] == pytest.approx(np.sqrt(8), rel=0.2)


def test_a_class_of_few_groups_gets_no_interval_of_its_own():
    probabilities, sample = drawn(images=120, seed=2)
    groups = np.where(sample.labels == 2, 500, sample.groups)
    sample = Sample(sample.labels, groups, NAMES, "accuracy")
    bounds = intervals(probabilities[0], sample, count=50)
    assert few_groups(sample) == [2]
    assert "recall/a" in bounds
    assert "balanced_accuracy" in bounds
    assert not [name for name in bounds if name.endswith("/c")]


def test_a_metric_that_is_undefined_gets_no_interval():
    probabilities, sample = drawn(count=1)
    first_class = np.flatnonzero(sample.labels == 0)
    bounds = intervals(probabilities[0][first_class], sample.take(first_class), count=20)
    assert "accuracy" in bounds
    assert "auroc" not in bounds


def test_a_class_that_is_never_predicted_leaves_its_precision_open():
    labels = np.repeat([0, 1], 30)
    bounds = intervals(np.tile([0.9, 0.1], (60, 1)), Sample(labels, np.arange(60), ("a", "b"), "accuracy"), count=20)
    assert "precision/b" not in bounds
    assert bounds["macro_precision"][1] > 0.7


def test_intervals_are_seeded():
    probabilities, sample = drawn(groups=30)
    areas = [intervals(probabilities[0], replace(sample), count=50, seed=seed)["auroc"] for seed in (0, 0, 1)]
    assert areas[0] == areas[1] != areas[2]
