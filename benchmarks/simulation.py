"""Tune's control loop in virtual time: any searcher and scheduler, no Ray processes, no waiting.

What is followed is ``ray/tune/execution/tune_controller.py`` of Ray 2.60, by the names of its methods:

- ``_maybe_update_trial_queue`` and ``_get_max_pending_trials``: one trial is asked for ahead of the free slots; a
  searcher that has none right now is asked again after the next report, or a second later where nothing runs.
- ``SearchGenerator.create_trial_if_possible``: FINISHED is final.
- ``_process_trial_result``: the scheduler is told of a report first, the searcher only where the trial goes on.
- ``stop_trial``: a trial that ends, stopped or not, repeats its last report to the scheduler, then to the searcher.
- ``_process_trial_failure`` with ``max_failures=0``: a worker that raises ends its trial with an error.

Not followed: schedulers that pause trials or look at the controller (PBT, HyperBand), and trials tried again.
"""

import copy
import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

Report = dict[str, Any]
Outcome = Report | Exception | None
# What a worker does next, and after how many seconds: it reports, or raises the exception.
Worker = Iterator[tuple[float, Report | Exception]]
Train = Callable[[dict[str, Any]], Worker]

_PATIENCE = 600  # Tune's seconds of asking a searcher that has nothing while nothing runs


@dataclass(frozen=True)
class Storage:
    """Where a trial's files would be."""

    storage_fs_path: str
    trial_fs_path: str


@dataclass
class Trial:
    """What searchers and schedulers read of ``ray.tune.experiment.Trial``."""

    trial_id: str
    config: dict[str, Any]
    storage: Storage
    error_file: str
    status: str = "PENDING"  # then RUNNING, then TERMINATED or ERROR
    last_result: Report = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """What was just handled: at which virtual second, of which trial, and its report or error.

    The outcome is None where a trial had nothing more to report. The trial's ``status`` says whether it goes on.
    """

    time: float
    trial: Trial
    outcome: Outcome


@dataclass
class Simulation:
    """One session of a search: iterating over ``events`` runs it, leaving off kills its driver.

    Attributes:
        searcher: Asked for configs.
        scheduler: Asked what to stop.
        train: The simulated trainable.
        workers: How many trials run at once.
        num_samples: How many trials to ask for.
        storage: A folder, in which only the errors of workers are written, in ``session``.
        session: Differs between the sessions of one search.
        clock: Seconds that the driver has worked so far, which then take as long in virtual time; None: it takes none.
        trials: All that were given, in order.
        time: Virtual seconds since the start.
    """

    searcher: Searcher
    scheduler: TrialScheduler
    train: Train
    workers: int
    num_samples: float = math.inf
    storage: str = "/checkpoints"
    session: str = "session-001"
    clock: Callable[[], float] | None = None
    trials: list[Trial] = field(default_factory=list, init=False)
    time: float = field(default=0.0, init=False)
    _pending: Trial | None = field(default=None, init=False)
    _finished: bool = field(default=False, init=False)
    # By time; of two outcomes at one time the one that was begun first goes first.
    _running: list[tuple[float, int, Trial, Worker, Outcome]] = field(default_factory=list, init=False)
    _begun: int = field(default=0, init=False)
    _charged: float = field(default=0.0, init=False)

    def events(self) -> Iterator[Event]:
        """Runs until the searcher has finished and every trial has ended.

        Raises:
            RuntimeError: The searcher has given nothing for ten minutes while nothing ran.
        """
        self._charged = self.clock() if self.clock else 0.0
        while True:
            self._fill()
            if not self._running:
                return
            time, _, trial, worker, outcome = heapq.heappop(self._running)
            self.time = max(self.time, time)  # it has waited where the driver was busy
            if isinstance(outcome, Exception):
                self._fail(trial, outcome)
            elif outcome is None or self._is_stopped(trial, outcome):
                self._end(trial)
            else:
                self._await(trial, worker)
            self._charge()
            yield Event(self.time, trial, outcome)

    def _fill(self) -> None:
        """Starts what there is room for, and asks for one trial more."""
        refusals = 0
        while True:
            if self._pending is None and not self._finished:
                self._pending = self._ask()
                self._charge()
            if self._pending is not None and len(self._running) < self.workers:
                trial, self._pending = self._pending, None
                trial.status = "RUNNING"
                self._await(trial, self.train(trial.config))
            elif self._pending is not None or self._finished or self._running:
                return
            elif (refusals := refusals + 1) > _PATIENCE:
                raise RuntimeError(f"the searcher gave no trial in {_PATIENCE} s, though none runs")
            else:
                self.time += 1.0

    def _ask(self) -> Trial | None:
        trial_id = f"{self.session}-{len(self.trials):05d}"
        config = self.searcher.suggest(trial_id) if len(self.trials) < self.num_samples else Searcher.FINISHED
        self._finished = config == Searcher.FINISHED
        if self._finished or config is None:
            return None
        folder = f"{self.storage}/{self.session}/{trial_id}"
        trial = Trial(trial_id, copy.deepcopy(config), Storage(self.storage, folder), f"{folder}/error.txt")
        self.trials.append(trial)
        self.scheduler.on_trial_add(None, trial)
        return trial

    def _charge(self) -> None:
        """Lets the time pass that the driver has worked since it was last asked."""
        if self.clock:
            worked = self.clock()
            self.time += worked - self._charged
            self._charged = worked

    def _await(self, trial: Trial, worker: Worker) -> None:
        seconds, outcome = next(worker, (0.0, None))
        self._begun += 1
        heapq.heappush(self._running, (self.time + seconds, self._begun, trial, worker, outcome))

    def _is_stopped(self, trial: Trial, report: Report) -> bool:
        """Tells of a report; what Tune adds to it is added unless the worker gave it."""
        iteration = trial.last_result.get("training_iteration", 0) + 1
        result = {
            "trial_id": trial.trial_id,
            "training_iteration": iteration,
            "checkpoint_dir_name": f"checkpoint_{iteration - 1:06d}",
            "done": False,
            **report,
        }
        decision = self.scheduler.on_trial_result(None, trial, result)
        if decision == TrialScheduler.PAUSE:
            raise NotImplementedError("schedulers that pause trials are not simulated")
        stopped = bool(decision == TrialScheduler.STOP)
        if stopped:
            result["done"] = True
        else:
            self.searcher.on_trial_result(trial.trial_id, result)
        trial.last_result = result
        return stopped

    def _end(self, trial: Trial) -> None:
        trial.last_result["done"] = True
        self.scheduler.on_trial_complete(None, trial, trial.last_result)
        self.searcher.on_trial_complete(trial_id=trial.trial_id, result=trial.last_result, error=False)
        trial.status = "TERMINATED"

    def _fail(self, trial: Trial, error: Exception) -> None:
        file = Path(trial.error_file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Failure # 1 (occurred at {self.time})\n{type(error).__name__}: {error}\n")
        self.scheduler.on_trial_error(None, trial)
        self.searcher.on_trial_complete(trial_id=trial.trial_id, result=None, error=True)
        trial.status = "ERROR"
