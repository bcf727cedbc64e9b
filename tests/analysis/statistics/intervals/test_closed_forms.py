import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals.closed_forms import (
    average_interval,
    bounded_interval,
    mean_interval,
    proportion_interval,
)


def wilson(right, images):
    """SciPy's Wilson interval whose normal quantile equals Student's t with ``images - 1`` degrees of freedom."""
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, images - 1)) - 1
    return pytest.approx(stats.binomtest(right, images).proportion_ci(level, method="wilson"))


@pytest.mark.parametrize("right", [0, 12, 19, 20])
def test_of_single_images_it_is_the_wilson_interval_unless_they_vary_more(right):
    outcomes = np.arange(20) < right
    low, high = proportion_interval(outcomes, np.arange(20))
    if right in (0, 20):
        assert (low, high) == wilson(right, 20)
    expected = wilson(right, 20).expected
    assert low <= expected.low + 1e-12
    assert high >= expected.high - 1e-12
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_twelve_of_twelve_is_not_certain():
    assert proportion_interval(np.ones(12, dtype=bool), np.arange(12)) == wilson(12, 12)
    assert proportion_interval(np.ones(12, dtype=bool), np.arange(12) // 3)[0] < 0.5  # four patients


def test_images_that_are_all_alike_count_once():
    of_groups = np.arange(30) < 21
    alike = proportion_interval(np.repeat(of_groups, 7), np.repeat(np.arange(30), 7))
    assert alike == pytest.approx(proportion_interval(of_groups, np.arange(30)))


def beta_binomial(groups, share, generator):
    """Outcomes of groups of about five images with an intra-group correlation of 0.5."""
    sizes = generator.integers(1, 10, groups)
    of_group = np.repeat(np.arange(groups), sizes)
    return generator.random(len(of_group)) < generator.beta(share, 1 - share, groups)[of_group], of_group


@pytest.mark.parametrize("groups", [10, 20, 50])
@pytest.mark.parametrize("share", [0.7, 0.9])
def test_coverage_of_a_proportion(groups, share):
    generator, held = np.random.default_rng(groups), []
    for _ in range(500):
        low, high = proportion_interval(*beta_binomial(groups, share, generator))
        held.append(low <= share <= high)
    assert np.mean(held) >= 0.93 - 0.02  # standard error 0.01


def test_an_average_of_independent_proportions_against_their_variance():
    """Distances add up as standard deviations do if the intervals are symmetric."""
    values, halves = np.array([0.5, 0.6, 0.4]), np.array([0.1, 0.2, 0.2])
    bounds = list(zip(values - halves, values + halves, strict=True))
    half = np.sqrt(np.square(halves).sum()) / 3
    assert average_interval(values, bounds, np.eye(3)) == pytest.approx((0.5 - half, 0.5 + half))
    half = halves.sum() / 3
    assert average_interval(values, bounds, np.ones((3, 3))) == pytest.approx((0.5 - half, 0.5 + half))


def test_an_average_keeps_the_uncertainty_of_perfect_classes():
    low, high = average_interval(np.array([1.0, 1.0]), [(0.7, 1.0), (0.7, 1.0)], np.eye(2))
    assert low == pytest.approx(1 - 0.3 / np.sqrt(2))
    assert high == 1


def test_without_skewness_a_mean_has_students_interval():
    values = np.concatenate([np.arange(10.0), -np.arange(10.0)])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values, np.arange(20)) == pytest.approx(expected)
    assert mean_interval(np.repeat(values, 3), np.repeat(np.arange(20), 3)) == pytest.approx(expected)


def test_coverage_of_a_skewed_mean():
    """Hall's interval of an exponential mean of 15 groups covers better than Student's, which covers about 91%."""
    generator, held, students = np.random.default_rng(0), [], []
    for _ in range(1000):
        values = generator.exponential(size=15)
        low, high = mean_interval(values, np.arange(15))
        held.append(low <= 1 <= high)
        students.append(stats.ttest_1samp(values, 1).pvalue >= 0.05)
    assert np.mean(held) >= 0.93
    assert np.mean(held) > np.mean(students)


def test_a_bounded_score_of_many_groups_has_the_normal_interval():
    low, high = bounded_interval(0.7, 0.0001, 10_000)
    assert (low, high) == pytest.approx((0.7 - 1.96 * 0.01, 0.7 + 1.96 * 0.01), abs=0.001)


def test_a_perfect_score_is_as_uncertain_as_a_share_of_groups():
    assert bounded_interval(1.0, 0.0, 12) == wilson(12, 12)
    assert bounded_interval(0.0, 0.0, 12) == wilson(0, 12)
