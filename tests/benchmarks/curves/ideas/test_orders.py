"""Orders of trials, on scores and seconds that follow one parameter."""

import numpy as np

from benchmarks.curves.ideas.orders import (
    Tried,
    by_improvement,
    by_improvement_per_second,
    random_order,
    that_fit,
)

LEVELS = np.linspace(0, 1, 41)[:, None]


def tried(scores, seconds):
    return Tried(LEVELS, scores(LEVELS[:, 0]), np.log(seconds(LEVELS[:, 0])))


def test_the_highest_predicted_score_has_the_largest_expected_improvement():
    peak = tried(lambda x: 1 - abs(x - 0.7), np.ones_like)
    assert by_improvement(peak, np.array([[0.1], [0.4], [0.7], [0.95]]), 1.0) == 2
    assert random_order(peak, LEVELS, 1.0) == 0


def test_of_equal_improvements_the_cheapest_is_the_largest_per_second():
    flat = tried(np.ones_like, lambda x: 1 + 100 * x)
    assert by_improvement_per_second(flat, np.array([[0.9], [0.05], [0.5]]), 1.0) == 1


def test_a_trial_that_fits_is_taken_and_without_one_the_shortest():
    longer = tried(np.zeros_like, lambda x: 1 + 100 * x)
    pool = np.array([[0.9], [0.3], [0.05]])
    assert [that_fit(longer, pool, left) for left in (200.0, 50.0, 20.0, 0.1)] == [0, 1, 2, 2]
