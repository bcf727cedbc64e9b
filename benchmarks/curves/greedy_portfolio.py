"""Choice of a few configurations that together do well on several data sets."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COST_POWER = 0.25


def greedy_portfolio(
    scores: Floats, size: int, seconds: Floats | None = None, cost_power: float = COST_POWER
) -> list[int]:
    """Choose configurations greedily so that the best of them has the least mean regret over data sets.

    Greedy choice is within 1 - 1/e of the best portfolio's gain (Feurer et al. 2022). Regrets are scaled by each data
    set's range of scores. Once every data set's best configuration is in, those with the least mean regret follow.

    Args:
        scores: (D, n) scores of n configurations on D data sets; higher is better.
        size: Largest number of configurations.
        seconds: (D, n) cost of each configuration; None to ignore it. The gain is divided by a power of the cost
            relative to the mean, so a cheap configuration can come before a slightly better one.
        cost_power: Power of the cost, from 0 to 1.

    Returns:
        Positions of the configurations, in the order in which they should be tried.
    """
    best, worst = scores.max(axis=1, keepdims=True), scores.min(axis=1, keepdims=True)
    regret = (best - scores) / np.maximum(best - worst, 1e-9)
    cost = np.ones(scores.shape[1])
    if seconds is not None:
        cost = (seconds / seconds.mean(axis=1, keepdims=True)).mean(axis=0) ** cost_power
    chosen: list[int] = []
    reached = np.ones(len(regret))
    while len(chosen) < min(size, scores.shape[1]):
        gain = (reached[:, None] - np.minimum(regret, reached[:, None])).mean(axis=0) / cost
        gain[chosen] = -1.0
        place = int(gain.argmax())
        if gain[place] <= 0:
            remaining = regret.mean(axis=0)
            remaining[chosen] = np.inf
            place = int(remaining.argmin())
        chosen.append(place)
        reached = np.minimum(reached, regret[:, place])
    return chosen
