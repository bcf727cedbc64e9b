"""Ray Tune's control loop in virtual time, for any searcher and scheduler, without Ray processes.

It follows ``ray/tune/execution/tune_controller.py`` of Ray 2.60, method by method:

- ``_maybe_update_trial_queue`` and ``_get_max_pending_trials``: one trial is requested ahead of the free slots. A
  searcher that returns None is asked again after the next report, or one second later if no trial runs.
- ``SearchGenerator.create_trial_if_possible``: FINISHED is final.
- ``_process_trial_result``: a report goes to the scheduler first, and to the searcher only if the trial continues.
- ``stop_trial``: at the end of a trial, stopped or not, its last report goes to the scheduler, then to the searcher.
- ``_process_trial_failure`` with ``max_failures=0``: a worker that raises ends its trial with an error.

Not supported: schedulers that pause trials or use the controller (PBT, HyperBand), and retries.
"""

import copy
import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

Report = dict[str, Any]
Outcome = Report | Exception | None
# Seconds until the worker's next report or exception, and that report or exception.
Worker = Iterator[tuple[float, Report | Exception]]
Train = Callable[[dict[str, Any]], Worker]

_PATIENCE = 600  # seconds for which Tune keeps asking a searcher that returns None while no trial runs


@dataclass(frozen=True)
class Storage:
    """Paths of a trial's files."""

    storage_fs_path: str
    trial_fs_path: str


@dataclass
class Trial:
    """The attributes of ``ray.tune.experiment.Trial`` that searchers and schedulers use."""

    trial_id: str
    config: dict[str, Any]
    storage: Storage
    error_file: str
    status: str = "PENDING"  # then RUNNING, then TERMINATED or ERROR
    last_result: Report = field(default_factory=dict)
    run_metadata: SimpleNamespace = field(default_factory=SimpleNamespace)


@dataclass(frozen=True)
class Event:
    """A report, an error, or the end of a trial.

    Attributes:
        time: Virtual time in seconds.
        trial: The trial; its ``status`` says whether it continues.
        outcome: Report or exception; None at the end of a trial that was not stopped.
    """

    time: float
    trial: Trial
    outcome: Outcome


@dataclass
class Simulation:
    """One session of a search. Iterating over ``events`` runs it; stopping early acts like a killed driver.

    Attributes:
        searcher: Searcher.
        scheduler: Scheduler.
        train: Simulated trainable.
        workers: Number of concurrent trials.
        num_samples: Largest number of trials.
        storage: Folder for the workers' error files.
        session: Name of the session, unique within the search.
        clock: Returns the seconds that the driver has worked, which also pass in virtual time; None for no time.
        trials: All trials so far, in order.
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
    # A heap by time; of two outcomes at the same time, the one that started first comes first.
    _running: list[tuple[float, int, Trial, Worker, Outcome]] = field(default_factory=list, init=False)
    _started: int = field(default=0, init=False)
    _charged: float = field(default=0.0, init=False)

    def events(self) -> Iterator[Event]:
        """Run until the searcher has finished and all trials have ended.

        Raises:
            RuntimeError: The searcher returned no trial for ten minutes while no trial ran.
        """
        self._charged = self.clock() if self.clock else 0.0
        while True:
            self._fill()
            if not self._running:
                return
            time, _, trial, worker, outcome = heapq.heappop(self._running)
            self.time = max(self.time, time)  # later than planned if the driver was busy
            if isinstance(outcome, Exception):
                self._fail(trial, outcome)
            elif outcome is None or self._is_stopped(trial, outcome):
                self._end(trial)
            else:
                self._await(trial, worker)
            self._charge()
            yield Event(self.time, trial, outcome)

    def _fill(self) -> None:
        """Start trials on all free workers and request one more."""
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
                raise RuntimeError(f"the searcher returned no trial for {_PATIENCE} s although no trial runs")
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
        """Advance the virtual time by the driver's work since the last call."""
        if self.clock:
            worked = self.clock()
            self.time += worked - self._charged
            self._charged = worked

    def _await(self, trial: Trial, worker: Worker) -> None:
        seconds, outcome = next(worker, (0.0, None))
        self._started += 1
        heapq.heappush(self._running, (self.time + seconds, self._started, trial, worker, outcome))

    def _is_stopped(self, trial: Trial, report: Report) -> bool:
        """Pass a report on, with the keys that Tune adds to it; return True if the scheduler stops the trial."""
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
