"""A search replayed in virtual time: ``workers`` run trials whose curves and seconds are known.

A searcher answers two questions. ``ask`` returns the next trial to run: a new one, or a paused one to continue.
``report`` gets the score of an epoch and decides whether the trial continues, stops for good, or pauses.
"""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import numpy as np

from benchmarks.curves.table import CacheKey, Curve, cache_key
from search_spaces.space import Params


class Decision(Enum):
    """Decision on a trial after a report."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


@dataclass(frozen=True)
class Job:
    """A trial to run.

    Attributes:
        trial: Number of the trial. That of a paused trial continues it.
        params: Parameters of the space; not read if the trial continues.
    """

    trial: int
    params: Params


class Searcher(ABC):
    """A search method.

    Attributes:
        keeps_stopped: True if its result may be a trial that it stopped or paused; False if, like ``tune-run``, it only
            chooses among trials that ran in full or are running.
    """

    keeps_stopped: ClassVar[bool] = True

    @abstractmethod
    def ask(self) -> Job | None:
        """Return the next trial, or None to wait until another trial reports."""

    @abstractmethod
    def report(self, trial: int, epoch: int, score: float, seconds: float) -> Decision:
        """Decide about a trial after its epoch (from 1), which took some seconds. The last epoch's answer is ignored.

        ``score`` is that of the epoch, not the best so far. Higher is better.
        """

    def end(self, trial: int, failed: bool) -> None:  # noqa: B027
        """Note that a trial ran in full or was stopped, or that it failed."""


@dataclass
class Progress:
    """A trial that has started.

    Attributes:
        curve: Its curve.
        epoch: Epochs so far.
        best: Best score so far.
        best_epoch: First epoch with that score.
        is_candidate: True while it may be the search's result.
    """

    curve: Curve
    epoch: int = 0
    best: float = -np.inf
    best_epoch: int = 0
    is_candidate: bool = True


@dataclass(frozen=True)
class Incumbent:
    """The result of a search if it ended at some time.

    Attributes:
        time: Virtual seconds since the start.
        tune: Score of the best checkpoint on ``tune``.
        select: Its score on ``select``.
        test: Its score on ``test``.
    """

    time: float
    tune: float
    select: float
    test: float


@dataclass
class Replay:
    """One search.

    Attributes:
        searcher: Search method.
        curve_of: Function from parameters to the trial's curve.
        cache_cost: Function from parameters to the seconds that outputs of frozen stages take the first time.
        workers: Number of concurrent trials.
        end: Virtual seconds at which the search ends.
        start_cost: Seconds that it takes to start a trial, or to continue a paused one, beside its training.
        incumbents: Result of the search after each change of it.
        trials: All trials by number.
        time: Virtual seconds since the start.
    """

    searcher: Searcher
    curve_of: Callable[[Params], Curve]
    cache_cost: Callable[[Params], float]
    workers: int
    end: float
    start_cost: float = 0.0
    incumbents: list[Incumbent] = field(default_factory=list, init=False)
    trials: dict[int, Progress] = field(default_factory=dict, init=False)
    time: float = field(default=0.0, init=False)
    # A heap by time; of two reports at the same time, the one that was started first comes first.
    _running: list[tuple[float, int, int, float]] = field(default_factory=list, init=False)
    _started: int = field(default=0, init=False)
    _cached: set[CacheKey] = field(default_factory=set, init=False)

    def run(self) -> list[Incumbent]:
        """Run the search until its end and return its results over time."""
        while True:
            while len(self._running) < self.workers and (job := self.searcher.ask()) is not None:
                self._start(job)
            if not self._running:
                return self.incumbents
            self.time, _, trial, seconds = heapq.heappop(self._running)
            if self.time > self.end:
                return self.incumbents
            self._finish_epoch(trial, seconds)

    def _start(self, job: Job) -> None:
        extra = self.start_cost
        if job.trial not in self.trials:
            self.trials[job.trial] = Progress(self.curve_of(job.params))
            key = cache_key(job.params)
            if key not in self._cached:
                self._cached.add(key)
                extra += self.cache_cost(job.params)
        self.trials[job.trial].is_candidate = True
        self._run_epoch(job.trial, extra)

    def _run_epoch(self, trial: int, extra: float = 0.0) -> None:
        progress = self.trials[trial]
        curve, done = progress.curve, progress.epoch
        seconds = curve.seconds[done] if done < len(curve.seconds) else curve.failed_after
        assert seconds is not None
        self._started += 1
        heapq.heappush(self._running, (self.time + float(seconds) + extra, self._started, trial, float(seconds)))

    def _finish_epoch(self, trial: int, seconds: float) -> None:
        progress = self.trials[trial]
        if progress.epoch == len(progress.curve.tune):
            progress.is_candidate = False
            self.searcher.end(trial, failed=True)
        else:
            progress.epoch += 1
            score = float(progress.curve.tune[progress.epoch - 1])
            if score > progress.best:
                progress.best, progress.best_epoch = score, progress.epoch
            decision = self.searcher.report(trial, progress.epoch, score, seconds)
            curve = progress.curve
            if progress.epoch == len(curve.tune) and curve.failed_after is None:
                self.searcher.end(trial, failed=False)
            elif decision is Decision.CONTINUE:
                self._run_epoch(trial)
            else:
                progress.is_candidate = self.searcher.keeps_stopped
                if decision is Decision.STOP:
                    self.searcher.end(trial, failed=False)
        self._note_incumbent()

    def _note_incumbent(self) -> None:
        candidates = [one for one in self.trials.values() if one.is_candidate and one.epoch]
        best = max(candidates, key=lambda one: one.best, default=None)  # of equal ones the first trial
        if best is None:
            return
        place = best.best_epoch - 1
        now = Incumbent(self.time, best.best, float(best.curve.select[place]), float(best.curve.test[place]))
        last = self.incumbents[-1] if self.incumbents else None
        if last is None or (now.tune, now.select, now.test) != (last.tune, last.select, last.test):
            self.incumbents.append(now)


def result_at(incumbents: list[Incumbent], time: float) -> Incumbent | None:
    """Return the result of a search that ended at a time, or None if no trial had reported."""
    return next((one for one in reversed(incumbents) if one.time <= time), None)


@dataclass(frozen=True)
class Recorded:
    """A recorded trial of another data set.

    Attributes:
        params: Its parameters.
        tune: Best score on ``tune``.
        select: Score of that checkpoint on ``select``.
        seconds: Cost of the trial.
    """

    params: Params
    tune: float
    select: float
    seconds: float


@dataclass(frozen=True)
class Task:
    """Knowledge of a searcher before a search.

    Attributes:
        data_set: Name of the data set.
        epochs: Epochs of a full trial.
        seed: Seed of the searcher.
        recipes: Parameters of the published recipes.
        others: Recorded trials of the other data sets, for methods that learn from them.
    """

    data_set: str
    epochs: int
    seed: int
    recipes: tuple[Params, ...]
    others: Mapping[str, tuple[Recorded, ...]]


Method = Callable[[Task], Searcher]
