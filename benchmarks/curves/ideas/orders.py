"""Which recorded trial a search tries next, after its first trials: ``python -m benchmarks.curves.ideas.orders``.

As in ``benchmarks.curves.exact``, every curve is a recorded one. The order is random, or each trial is chosen when it
starts: by expected improvement, by expected improvement per second, or because it still fits into the time that is
left. A figure is the regret of the search's result, averaged over ``select`` and ``test``, in points.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import optuna
import typer
from joblib import Parallel, delayed
from optuna.trial import TrialState
from scipy.stats import norm

from benchmarks.curves import exact
from benchmarks.curves.data_sets import Scale
from benchmarks.curves.peers.ray_tune import Ours
from benchmarks.curves.replay import Decision, Job, Searcher
from benchmarks.curves.surrogate import Encoder, fit_forest, space_distributions
from benchmarks.curves.table import Floats, read_packed
from benchmarks.record import RESULTS, machine
from benchmarks.search_quality.searchers import interval
from search_spaces.space import Params

LEAST = 8  # trials that must have reported before anything is predicted
RULE = "pause at a quarter and half"


@dataclass(frozen=True)
class Tried:
    """The n trials that have reported so far.

    Attributes:
        features: (n, F) encoded parameters.
        scores: (n,) best score so far.
        log_seconds: (n,) logarithm of the seconds that all epochs take, from those so far.
    """

    features: Floats
    scores: Floats
    log_seconds: Floats


Order = Callable[[Tried, Floats, float], int]  # from the (m, F) features of the pool and the time left to a place in it


def random_order(tried: Tried, pool: Floats, time_left: float) -> int:  # noqa: ARG001
    """Return the first place: the pool is shuffled."""
    return 0


def by_improvement(tried: Tried, pool: Floats, time_left: float) -> int:  # noqa: ARG001
    """Return the place with the largest expected improvement (Jones et al. 1998), by a forest as in SMAC."""
    return int(_improvement(tried, pool).argmax())


def by_improvement_per_second(tried: Tried, pool: Floats, time_left: float) -> int:  # noqa: ARG001
    """Return the place with the largest expected improvement per second (Snoek et al. 2012)."""
    seconds = np.exp(fit_forest(tried.features, tried.log_seconds).predict(pool))
    return int((_improvement(tried, pool) / seconds).argmax())


def that_fit(tried: Tried, pool: Floats, time_left: float) -> int:
    """Return the first place whose trial is predicted to end in time; the one that ends first if there is none."""
    seconds = np.exp(fit_forest(tried.features, tried.log_seconds).predict(pool))
    fits = np.flatnonzero(seconds <= time_left)
    return int(fits[0] if len(fits) else seconds.argmin())


def _improvement(tried: Tried, pool: Floats) -> Floats:
    """Return the (m,) expected improvements over the best score so far."""
    forest = fit_forest(tried.features, tried.scores)
    of_trees = np.stack([tree.predict(pool) for tree in forest.estimators_])
    gain, spread = of_trees.mean(axis=0) - tried.scores.max(), of_trees.std(axis=0) + 1e-9
    improvement: Floats = gain * norm.cdf(gain / spread) + spread * norm.pdf(gain / spread)
    return improvement


ORDERS: dict[str, Order] = {
    "random": random_order,
    "expected improvement": by_improvement,
    "expected improvement per second": by_improvement_per_second,
    "random, of those that still fit": that_fit,
}


@dataclass
class OrderedSearch(Searcher):
    """``tune-run`` that takes each new trial from a pool of configurations when it starts.

    Attributes:
        search: ``tune-run`` with its first trials, which come before the pool.
        pool: Configurations that remain.
        time_left: Function that returns the virtual seconds until the search ends.
        order: Choice of the next one.
    """

    keeps_stopped: ClassVar[bool] = False
    search: Ours
    pool: list[Params]
    time_left: Callable[[], float]
    order: Order
    _encode: Encoder = field(default_factory=lambda: Encoder(space_distributions()), init=False)
    _params: dict[int, Params] = field(default_factory=dict, init=False)
    _scores: dict[int, list[float]] = field(default_factory=dict, init=False)
    _seconds: dict[int, list[float]] = field(default_factory=dict, init=False)

    def ask(self) -> Job | None:
        """Put the next trial of the pool into the queue if that is empty, and ask ``tune-run``."""
        study = self.search.steering.study
        if self.pool and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            features = np.stack([self._encode(params) for params in self.pool])
            tried = self._tried()
            place = self.order(tried, features, self.time_left()) if len(tried.scores) >= LEAST else 0
            study.enqueue_trial(dict(self.pool.pop(place)))
        job = self.search.ask()
        if job is not None:
            self._params[job.trial] = job.params
        return job

    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:
        """Note the epoch and pass it on."""
        self._scores.setdefault(trial, []).append(score)
        self._seconds.setdefault(trial, []).append(seconds)
        return self.search.report(trial, epoch, score, seconds)

    def end(self, trial: int, failed: bool) -> None:
        """Pass the end of a trial on."""
        self.search.end(trial, failed)

    def _tried(self) -> Tried:
        numbers = list(self._scores)
        return Tried(
            np.array([self._encode(self._params[number]) for number in numbers]),
            np.array([max(self._scores[number]) for number in numbers]),
            np.log([self.search.epochs * np.mean(self._seconds[number]) for number in numbers]),
        )


def _search(first: str, order: str, name: str, seed: int) -> Floats:
    """Run one search, perhaps in another process, and return its regrets."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pooled = partial(OrderedSearch, order=ORDERS[order])
    return exact.run(exact.FIRST[first], exact.RULES[RULE], name, seed, read_packed(Scale.LARGE), pooled)


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 10,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = RESULTS / "curves_orders.json",
    jobs: Annotated[int, typer.Option(min=1, help="Searches at a time.")] = 1,
) -> None:
    """Run all searches and summarize them."""
    names = list(read_packed(Scale.LARGE))
    summary = {}
    for first in ("random", "portfolio of a half, recipes"):
        rows = [(order, name, seed) for order in ORDERS for name in names for seed in range(seeds)]
        found = Parallel(jobs)(delayed(_search)(first, *row) for row in rows)
        regrets = dict(zip(ORDERS, np.array(found).reshape(len(ORDERS), len(names) * seeds, -1), strict=True))
        for order, values in regrets.items():
            summary[f"{first} | {order}"] = {
                "regret": [interval(column) for column in values.T],
                "less_than_base": [interval(column) for column in (regrets["random"] - values).T],
            }
    exact.show(summary, "a random order", "order")
    content = {"machine": machine(), "seeds": seeds, "data_sets": names, "rule": RULE, "methods": summary}
    output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
