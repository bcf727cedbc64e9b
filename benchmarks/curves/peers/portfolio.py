"""Quick-Tune's portfolio idea: configurations that together are near the best on the other data sets, tried first."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.curves.peers.ray_tune import optuna_asha_points
from benchmarks.curves.replay import Searcher, Task
from search_spaces.space import Params

SIZE = 10


def greedy_portfolio(others: Mapping[str, Sequence[tuple[Params, float]]], size: int) -> list[Params]:
    """Choose configurations greedily so that the best of them has the least mean regret over data sets.

    Greedy choice is within 1 - 1/e of the best portfolio's gain (Feurer et al. 2022). Only configurations recorded on
    every data set are candidates. Regrets are scaled by each data set's range of scores.

    Args:
        others: Parameters and final scores by data set; higher is better.
        size: Largest number of configurations.
    """
    scores = [{_key(params): score for params, score in recorded} for recorded in others.values()]
    shared = [params for params, _ in next(iter(others.values())) if all(_key(params) in one for one in scores)]
    if not shared:
        return []
    matrix = np.array([[one[_key(params)] for params in shared] for one in scores])
    best, worst = matrix.max(axis=1, keepdims=True), matrix.min(axis=1, keepdims=True)
    regret = (best - matrix) / np.maximum(best - worst, 1e-9)
    chosen: list[int] = []
    reached = np.full(len(regret), np.inf)
    while len(chosen) < min(size, len(shared)):
        totals = np.minimum(regret, reached[:, None]).mean(axis=0)
        totals[chosen] = np.inf
        chosen.append(int(totals.argmin()))
        reached = np.minimum(reached, regret[:, chosen[-1]])
    return [shared[place] for place in chosen]


def _key(params: Params) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(params.items()))


def portfolio_asha(task: Task) -> Searcher:
    """Return the portfolio of the other data sets, then OptunaSearch, with ASHA on our rungs."""
    return optuna_asha_points(task, greedy_portfolio(task.others, SIZE))
