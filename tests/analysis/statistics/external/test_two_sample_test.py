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


def test_shifted_distributions_are_told_apart():
    generator = np.random.default_rng(1)
    found = two_sample_test(generator.normal(size=(100, 5)), generator.normal(size=(100, 5)) + 1)
    assert found.accuracy > 0.7 and found.p_value < 1e-4


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3])
def test_the_p_value_is_the_chance_of_a_coin(shift):
    """The normal approximation is half-way between the chances of as many and of more right answers."""
    generator = np.random.default_rng(2)
    found = two_sample_test(generator.normal(size=(100, 5)), generator.normal(size=(100, 5)) + shift)
    right = round(found.accuracy * found.images)
    chances = binom.sf([right - 1, right], found.images, 0.5)
    assert 1e-4 < chances[0] < 0.999
    assert found.p_value == pytest.approx(chances.mean(), rel=0.1)


def test_small_sets_are_not_tested():
    assert two_sample_test(np.zeros((19, 2)), np.zeros((500, 2))) is None
