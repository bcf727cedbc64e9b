"""Quick-Tune's portfolio idea: configurations that together are near the best on the other data sets, tried first."""

import numpy as np

from benchmarks.curves.greedy_portfolio import greedy_portfolio
from benchmarks.curves.make_portfolio import SIZE, shared_trials
from benchmarks.curves.peers.ray_tune import optuna_asha_points
from benchmarks.curves.replay import Searcher, Task


def portfolio_asha(task: Task) -> Searcher:
    """Return the portfolio by the other data sets' ``select`` scores, then OptunaSearch, with ASHA on our rungs."""
    shared = shared_trials(task.others)
    scores = np.array([[one.select for one in trials] for trials in shared])
    return optuna_asha_points(task, [shared[0][place].params for place in greedy_portfolio(scores, SIZE)])
