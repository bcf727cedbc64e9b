"""The greedy portfolio against exhaustive search."""

import itertools

import numpy as np
import pytest

from benchmarks.curves.greedy_portfolio import greedy_portfolio


def mean_regret(scores, chosen):
    best, worst = scores.max(axis=1), scores.min(axis=1)
    return float(np.mean((best - scores[:, list(chosen)].max(axis=1)) / (best - worst)))


@pytest.mark.parametrize("seed", range(5))
def test_each_configuration_is_the_one_that_lowers_the_mean_regret_most(seed):
    scores = np.random.default_rng(seed).random((4, 12))
    chosen = greedy_portfolio(scores, 4)
    for size in range(1, 5):
        before = chosen[: size - 1]
        others = [place for place in range(12) if place not in before]
        assert mean_regret(scores, chosen[:size]) == min(mean_regret(scores, [*before, one]) for one in others)


@pytest.mark.parametrize("seed", range(5))
def test_three_configurations_reach_the_gain_that_the_theorem_promises(seed):
    """Greedy choice has at least 1 - 1/e of the gain of the best portfolio of that size (Nemhauser et al. 1978)."""
    scores = np.random.default_rng(seed).random((6, 10))
    best = min(mean_regret(scores, chosen) for chosen in itertools.combinations(range(10), 3))
    assert 1 - mean_regret(scores, greedy_portfolio(scores, 3)) >= (1 - np.exp(-1)) * (1 - best)


def test_a_cheap_configuration_precedes_a_slightly_better_one():
    scores = np.array([[0.0, 0.90, 1.0], [0.0, 0.95, 1.0]])
    seconds = np.array([[1.0, 1.0, 81.0]] * 2)
    assert greedy_portfolio(scores, 1) == [2]
    assert greedy_portfolio(scores, 1, seconds) == [1]
    assert greedy_portfolio(scores, 1, seconds, cost_power=0.0) == [2]


def test_once_every_best_one_is_in_the_least_mean_regret_follows():
    scores = np.array([[1.0, 0.0, 0.5, 0.8], [0.9, 0.0, 1.0, 0.7]])
    assert greedy_portfolio(scores, 9) == [0, 2, 3, 1]
