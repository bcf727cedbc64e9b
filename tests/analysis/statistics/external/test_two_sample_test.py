import numpy as np
import pytest
from scipy.stats import binom

from analysis.statistics.external.two_sample_test import two_sample_test


def test_equal_distributions_are_rarely_told_apart():
    generator = np.random.default_rng(0)
    found = [
        two_sample_test(generator.normal(size=(60, 5)), generator.normal(size=(80, 5)), seed) for seed in range(60)
    ]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.12
    assert np.mean([one.accuracy for one in found]) == pytest.approx(0.5, abs=0.03)
    assert {one.images for one in found} == {60}


def test_shifted_distributions_are_told_apart_with_the_chance_of_a_coin():
    generator = np.random.default_rng(1)
    found = two_sample_test(generator.normal(size=(100, 5)), generator.normal(size=(100, 5)) + 1)
    assert found.accuracy > 0.7
    right = round(found.accuracy * found.images)
    assert found.p_value == pytest.approx(binom.sf(right - 1, found.images, 0.5), rel=1, abs=1e-4)


def test_small_sets_are_not_tested():
    assert two_sample_test(np.zeros((19, 2)), np.zeros((500, 2))) is None
