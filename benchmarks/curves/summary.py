"""Figures of a comparison: regrets, differences paired by seed, and the GPU-seconds to reach the best peer's end.

Arrays have axes of M methods, D data sets, S seeds, and T or G + 1 points in time, the last of which is the end of the
budget. Intervals resample the seeds, with the same draw for all methods and data sets.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves.table import Floats
from benchmarks.search_quality.searchers import interval

NEVER = 2.0  # time of a mean curve that never reaches the score, in budgets (PAR2, penalised average runtime)
RESAMPLES, AT_ONCE = 10_000, 500


def scores_at(result: Sequence[Sequence[float]], shares: Floats, lowest: Floats) -> Floats:
    """Return the (T, 2) scores on ``select`` and ``test`` of one search that ends at T shares of its budget.

    Args:
        result: Share of the budget, score on ``tune``, ``select`` and ``test`` at each change of the search's result.
        shares: (T,) shares.
        lowest: (2,) scores of a search without a result so far.
    """
    scores = np.array([lowest, *(one[2:] for one in result)])
    found: Floats = scores[np.searchsorted([one[0] for one in result], shares, side="right")]
    return found


def best_peers(regret: Floats, peers: Sequence[int]) -> list[int]:
    """Return the peer with the least mean regret at each share, for (M, S, T) regrets."""
    return [min(peers, key=lambda peer: regret[peer, :, place].mean()) for place in range(regret.shape[2])]


def compare_methods(regret: Floats, base: int, peers: Sequence[int]) -> list[dict[str, Any]]:
    """Return each method's regret at each share, and how much less it is than the base's and the best peer's.

    Args:
        regret: (M, S, T) regrets.
        base: Position of the method to compare with.
        peers: Positions of the peers. At each share, the best one is that with the least mean regret there.
    """
    best = np.stack([regret[peer, :, place] for place, peer in enumerate(best_peers(regret, peers))], axis=1)
    return [
        {
            "regret": intervals(of),
            "less_than_base": intervals(regret[base] - of),
            "less_than_best_peer": intervals(best - of),
        }
        for of in regret
    ]


def intervals(values: Floats) -> list[dict[str, float]]:
    """Return the mean of each column of (S, T) values with its interval."""
    return [interval(column) for column in values.T]


def reach_time(curves: Floats, targets: Floats) -> Floats:
    """Return the (N,) first shares of the budget at which curves have reached a score, ``NEVER`` if they do not.

    Args:
        curves: (N, G + 1) scores at equal steps of the budget.
        targets: (N,) scores.
    """
    reached = curves >= targets[:, None] - 1e-9  # the last bit of a mean depends on the order of its sum
    return np.where(reached.any(axis=1), reached.argmax(axis=1) / (curves.shape[1] - 1), NEVER)


def reach_best_peer(select: Floats, peers: Sequence[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Compare the GPU-seconds that methods need to reach the score on ``select`` with which the best peer ends.

    Curves are means over seeds, and the best peer of a data set is the one that ends with the highest. A method's time
    is divided by that peer's own, the first at which its curve is that high, and by the whole budget that it spent.
    All methods have the same workers, so a ratio of times is one of GPU-seconds. Each resample chooses the best peers
    again.

    Args:
        select: (M, D, S, G + 1) scores.
        peers: Positions of the peers.

    Returns:
        By data set: ``best_peer`` (its position), its final ``score``, and ``share``, the M methods' times (None for
        never). By method: the two ratios, ``of_first_time`` and ``of_budget``, each as its geometric ``mean`` over data
        sets with a 95% interval, ``low`` and ``high``.
    """
    seeds = select.shape[2]
    best, scores, times = _reach(select, peers, np.full((1, seeds), 1 / seeds))
    by_set = [
        {"best_peer": int(peer), "score": float(score), "share": [None if one == NEVER else float(one) for one in of]}
        for peer, score, of in zip(best[0], scores[0], times[0], strict=True)
    ]
    weights = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    parts = [_reach(select, peers, part) for part in np.array_split(weights, RESAMPLES // AT_ONCE)]
    low, high = np.percentile(np.concatenate([_ratios(part[2], part[0]) for part in parts]), (2.5, 97.5), axis=0)
    figures = np.stack([_ratios(times, best)[0], low, high], axis=-1).tolist()
    names = ("mean", "low", "high")
    return by_set, [
        {kind: dict(zip(names, of, strict=True)) for kind, of in zip(("of_first_time", "of_budget"), both, strict=True)}
        for both in figures
    ]


def _reach(select: Floats, peers: Sequence[int], weights: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the (R, D) best peers, their (R, D) final scores, and all (R, D, M) times, for (R, S) weights of seeds."""
    best, scores, times = [], [], []
    for of_set in np.moveaxis(select, 1, 0):
        final = weights @ of_set[peers, :, -1].T
        best.append(np.array(peers)[final.argmax(axis=1)])
        scores.append(final.max(axis=1))
        times.append(np.stack([reach_time(weights @ curves, scores[-1]) for curves in of_set], axis=1))
    return np.stack(best, axis=1), np.stack(scores, axis=1), np.stack(times, axis=1)


def _ratios(times: Floats, best: NDArray[np.int64]) -> Floats:
    """Return the (R, M, 2) geometric means over data sets of (R, D, M) times: over the best peers' times, and as is."""
    of_best = np.take_along_axis(times, best[..., None], axis=2)
    ratios: Floats = np.exp(np.log(np.stack([times / of_best, times], axis=-1)).mean(axis=1))
    return ratios
