from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from analysis.ensembles.tasks.label_samples import LabelSample
from analysis.ensembles.tasks.segmentation import MaskSample
from analysis.statistics.calibration import brier_scores
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


@pytest.mark.slow
def test_averages_and_areas_against_a_loop_over_groups():
    """With many groups, all methods agree with the percentiles of a bootstrap."""
    probabilities, sample = drawn(count=1, images=600, groups=300, skill=2)
    bounds = intervals(probabilities[0], sample, count=400)
    generator = np.random.default_rng(5)
    recalls, areas = [], []
    classes_of = {group: set(sample.labels[sample.groups == group]) for group in set(sample.groups)}
    groups_of = [sum(label in classes for classes in classes_of.values()) for label in range(3)]
    class_of = {group: min(classes, key=groups_of.__getitem__) for group, classes in classes_of.items()}
    strata = [[group for group, rarest in class_of.items() if rarest == label] for label in range(3)]
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
    bounds = intervals(np.eye(3)[labels], perfect, {"brier": np.zeros(36)}, count=5)
    assert {"brier", *perfect.scores(np.eye(3)[labels])} == set(bounds)
    for name, (low, high) in bounds.items():
        best = 0 if name in ("log_loss", "brier", "mean_absolute_error") else 1
        assert best == pytest.approx(low if best == 0 else high, abs=1e-9)
        assert high - low > 0.02
    assert bounds["recall/a"][0] < 0.8
    assert bounds["mean_absolute_error"][1] > 0.1
    worst = intervals(np.eye(3)[2 - labels], perfect, count=5)["quadratic_weighted_kappa"]
    assert worst[0] == -1


def wilson(right, images):
    """SciPy's Wilson interval whose normal quantile equals Student's t with ``images - 1`` degrees of freedom."""
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, images - 1)) - 1
    return np.array(stats.binomtest(right, images).proportion_ci(level, method="wilson"))


def test_a_mean_that_does_not_vary_has_the_interval_of_a_share_of_groups():
    groups = np.repeat(np.arange(12), 3)
    perfect = np.tile([9.0, 0.0, 0.0], (36, 1))
    bounds = intervals(perfect, MaskSample(np.zeros(36, dtype=np.int64), groups, ("lung",), "dice"), count=5)
    for name in ("dice", "iou", "dice/lung"):
        assert bounds[name] == pytest.approx(wilson(12, 12))
    labels = np.repeat([0, 1], 18)
    sample = Sample(labels, groups, ("a", "b"), "accuracy")
    certain = intervals(np.eye(2)[labels], sample, {"brier": np.zeros(36)}, count=5)
    wrong = intervals(np.eye(2)[1 - labels], sample, {"brier": np.full(36, 2.0)}, count=5)
    assert certain["log_loss"] == pytest.approx(52 * np.log(2) * wilson(0, 6))  # 6 groups of each class
    assert wrong["log_loss"] == pytest.approx(52 * np.log(2) * wilson(6, 6))
    assert certain["brier"] == pytest.approx(2 * wilson(0, 6))
    assert wrong["brier"] == pytest.approx(2 * wilson(6, 6))


def test_means_of_few_groups_stay_within_their_range():
    """One of eleven groups is far worse than the others; Student's interval leaves the range in each case."""
    groups = np.arange(11)
    counts = np.where(groups[:, None] == 0, [[0.0, 5.0, 5.0]], [[10.0, 0.0, 0.0]])
    masks = MaskSample(np.zeros(11, dtype=np.int64), groups, ("lung",), "dice")
    share = (groups > 0).astype(np.float64)
    assert stats.ttest_1samp(share, 0).confidence_interval(0.95).high > 1
    low, high = intervals(counts, masks, count=5)["dice"]
    assert low < 10 / 11 < high == 1
    labels = groups % 2
    probabilities = np.where((groups == 0)[:, None], 1 - np.eye(2)[labels], np.eye(2)[labels])
    sample = Sample(labels, groups, ("a", "b"), "accuracy")
    bounds = intervals(probabilities, sample, {"brier": brier_scores(probabilities, labels)}, count=5)
    for name, mean in (("brier", 2 / 11), ("log_loss", 52 * np.log(2) / 11)):
        assert bounds[name][0] == 0 < mean < bounds[name][1]
    unsure = np.where(has := np.eye(2)[labels] == 1, 0.99, 0.01)
    unsure[:2] = np.where(has[:2], 1e-6, 1 - 1e-6)
    low, high = intervals(unsure, LabelSample(has.astype(np.int64), groups, ("a", "b"), "auroc"), count=5)["log_loss"]
    assert 0 <= low < (2 * -np.log(1e-6) - 9 * np.log(0.99)) / 11 < high


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
