import numpy as np
import pytest

from analysis.statistics.paired_difference import paired_differences, share_difference
from analysis.statistics.resampling import Sample

RNG = np.random.default_rng(0)


def sample_of(labels, groups=None):
    groups = np.arange(len(labels)) if groups is None else groups
    return Sample(labels, groups, ("a", "b"), "accuracy")


def probabilities(labels, right):
    """(n, 2) probabilities that are right where ``right`` is True, each of another confidence."""
    confident = RNG.uniform(0.6, 0.9, len(labels))
    of_label = np.where(right, confident, 1 - confident)
    return np.stack([1 - of_label, of_label], axis=1)[
        np.arange(len(labels))[:, None], np.array([[1, 0], [0, 1]])[labels]
    ]


def test_the_interval_of_accuracies_is_that_of_paired_proportions():
    """The reference is the normal approximation for paired proportions (Fleiss et al. 2003), on 2,000 single images."""
    labels = RNG.integers(0, 2, 2000)
    first = RNG.random(2000) < 0.8
    second = np.where(RNG.random(2000) < 0.7, first, RNG.random(2000) < 0.9)
    found = paired_differences(probabilities(labels, first), probabilities(labels, second), sample_of(labels), 400)
    only_second, only_first = np.mean(second & ~first), np.mean(first & ~second)
    difference = only_second - only_first
    error = np.sqrt((only_second + only_first - difference**2) / 2000)
    accuracy = found["accuracy"]
    assert accuracy.second - accuracy.first == pytest.approx(difference)
    low, high = accuracy.interval
    np.testing.assert_allclose([low, high], [difference - 1.96 * error, difference + 1.96 * error], atol=0.2 * error)


def test_copies_of_an_image_in_its_group_do_not_narrow_the_interval():
    labels = RNG.integers(0, 2, 100)
    both = [probabilities(labels, RNG.random(100) < share) for share in (0.7, 0.85)]
    single = paired_differences(*both, sample_of(labels), 300)["accuracy"].interval
    four = [np.repeat(each, 4, axis=0) for each in both]
    copied = paired_differences(*four, sample_of(np.repeat(labels, 4), np.repeat(np.arange(100), 4)), 300)
    np.testing.assert_allclose(copied["accuracy"].interval, single, atol=0.02)


def test_two_models_that_are_always_right_may_still_differ():
    labels = np.arange(24) % 2
    both = [probabilities(labels, np.ones(24, bool)) for _ in range(2)]
    low, high = paired_differences(*both, sample_of(labels), 200)["accuracy"].interval
    assert low < -0.05 and high > 0.05
    same = paired_differences(both[0], both[0], sample_of(labels), 200)["accuracy"]
    assert same.interval == (0, 0)


def test_scores_without_an_interval_have_none():
    labels = np.array([0] * 20 + [1] * 4)  # too few groups of b
    both = [probabilities(labels, RNG.random(24) < 0.8) for _ in range(2)]
    found = paired_differences(*both, sample_of(labels), 100)
    assert found["recall/b"].interval is None and found["recall/a"].interval is not None
    assert found["recall/b"].describe().count("[") == 0


@pytest.mark.parametrize("per_group", [1, 5])
def test_the_interval_of_shares_is_that_of_the_differences_of_groups(per_group):
    """The reference is the normal approximation for the mean of differences between 1,000 independent groups."""
    generator = np.random.default_rng(1)
    first = np.repeat(generator.random(1000) < 0.8, per_group)
    second = np.where(generator.random(first.shape) < 0.7, first, generator.random(first.shape) < 0.9)
    found = share_difference(first, second, np.repeat(np.arange(1000), per_group))
    by_group = (second.astype(float) - first).reshape(1000, per_group).mean(axis=1)
    error = by_group.std(ddof=1) / np.sqrt(1000)
    assert (found.first, found.second) == (first.mean(), second.mean())
    np.testing.assert_allclose(found.interval, by_group.mean() + np.array([-1.96, 1.96]) * error, atol=0.3 * error)


def test_shares_of_few_groups_have_no_interval_and_two_that_are_1_may_differ():
    right = np.arange(40) % 4 > 0
    assert share_difference(right, ~right, np.arange(40) // 5).interval is None
    low, high = share_difference(right, right, np.arange(40)).interval
    apart = share_difference(right, np.roll(right, 1), np.arange(40)).interval
    assert low <= 0 <= high and high - low < (apart[1] - apart[0]) / 2
    low, high = share_difference(np.ones(40, bool), np.ones(40, bool), np.arange(40)).interval
    assert low < -0.05 and high > 0.05
