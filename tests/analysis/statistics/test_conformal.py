import numpy as np
import pytest
from scipy.stats import beta

from analysis.statistics.conformal import fewest_groups, groups_to_promise, lowest_probability


def test_with_one_image_a_group_it_is_the_usual_quantile():
    """Angelopoulos and Bates 2023: the ceil((n + 1)(1 - alpha))-th smallest score 1 - p, so the same largest p."""
    generator = np.random.default_rng(0)
    for count in (9, 19, 57, 200):
        values = generator.random(count).astype(np.float32)
        rank = int(np.ceil((count + 1) * 0.9 - 1e-9))
        found = lowest_probability(values, generator.permutation(count), 0.9)
        assert found == np.sort(values)[::-1][rank - 1]


def test_groups_weigh_the_same_however_many_images_they_have():
    values, groups = np.array([0.9, 0.8, 0.7, 0.2, 0.3], np.float32), np.array([0, 1, 2, 3, 3])
    many = np.repeat(np.arange(5), [10, 1, 1, 4, 4])
    assert lowest_probability(values, groups, 0.7) == lowest_probability(values[many], groups[many], 0.7)
    # 3 groups weigh 3/5, and the image at 0.3 another 1/10
    assert lowest_probability(values, groups, 0.7) == np.float32(0.3)
    assert lowest_probability(values, groups, 0.6) == np.float32(0.7)
    assert lowest_probability(values, groups, 0.75) == np.float32(0.2)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_fewer_groups_than_the_promise_needs_rule_nothing_out(coverage):
    fewest = fewest_groups(coverage)
    assert lowest_probability(np.ones(fewest, np.float32), np.arange(fewest), coverage) == 1
    assert lowest_probability(np.ones(fewest - 1, np.float32), np.arange(fewest - 1), coverage) == 0


@pytest.mark.parametrize(("coverage", "needed"), [(0.8, 10), (0.9, 30), (0.95, 61)])
def test_from_the_promised_number_on_the_coverage_is_rarely_far_below(coverage, needed):
    """The coverage of K calibration scores is Beta distributed, which drawing confirms."""
    assert groups_to_promise(coverage) == needed
    generator = np.random.default_rng(1)
    drawn = np.sort(generator.random((20_000, needed)), axis=1)  # of uniform scores the threshold is the coverage
    rank = int(np.ceil((needed + 1) * coverage - 1e-9))
    reached = drawn[:, rank - 1]
    assert np.mean(reached < 2 * coverage - 1) <= 0.05 + 0.005
    assert reached.mean() >= coverage - 0.001
    misses = needed + 1 - rank
    assert np.quantile(reached, 0.05) == pytest.approx(beta.ppf(0.05, needed + 1 - misses, misses), abs=0.005)


@pytest.mark.parametrize("skewed", [False, True])
def test_the_promise_holds_for_images_of_new_groups_whose_images_are_alike(skewed):
    """Large groups are the easy ones in the skewed case, where pooling all images as exchangeable would fail."""
    generator = np.random.default_rng(2)
    covered, pooled = [], []
    for _ in range(1500):
        hard = generator.random(31) < 0.4
        sizes = np.where(hard, 1, 12) if skewed else generator.integers(1, 9, 31)
        level = generator.normal(np.where(hard, -1.0, 1.0), 1)
        groups = np.repeat(np.arange(31), sizes)
        values = 1 / (1 + np.exp(-(level[groups] + generator.normal(size=len(groups)))))
        new = groups == 30
        threshold = lowest_probability(values[~new], groups[~new], 0.9)
        image = generator.choice(np.flatnonzero(new))
        covered.append(np.float32(values[image]) >= np.float32(threshold))
        pooled.append(values[image] >= lowest_probability(values[~new], np.flatnonzero(~new), 0.9))
    error = np.sqrt(0.9 * 0.1 / len(covered))
    assert np.mean(covered) >= 0.9 - 2 * error
    assert np.mean(covered) <= 0.93 + 2 * error  # nor is it met by ruling nothing out
    if skewed:
        assert np.mean(pooled) < 0.85
