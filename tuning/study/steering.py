"""The state that one driver's searcher, scheduler and callbacks share.

``StudySearcher`` hands out what the study holds or asks for; ``StudyScheduler`` writes every report into the study and
asks its pruner. All state can be rebuilt from the study, so a new process can continue a search at any moment.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from analysis.trials import PRUNED, TIME_BUDGET, TrialRecord, read_trials
from trainables.core.metric_names import Objective
from tuning.study.convergence import convergence
from tuning.study.record_trial import finish_trial, read_record, recover_trial, save_stop
from tuning.study.repeated_failures import RepeatedFailures
from tuning.study.storage.optuna_internals import queue_again
from tuning.study.successive_halving import PausingHalving


@dataclass
class Steering:
    """Settings and running trials of one driver.

    Attributes:
        study: Record of the search.
        objective: One or two metrics to optimise.
        epochs: Epochs of a full trial, or folds if trials are cross-validated.
        num_samples: Number of trials of the search.
        max_concurrent: Maximum number of concurrent trials; None for as many as fit.
        deadline: ``time.monotonic()`` after which no trial starts and running trials stop at their next report.
        configure: Function that turns an Optuna trial into the plain dict of a ``TrainConfig``.
        storage: Path or URI under which Tune writes checkpoints.
        live: Running Optuna trials by Ray's trial ID.
        unfinished: Trials that were started and have to be handed out again.
        paused: Trials that wait at a rung, by number. In the study they are RUNNING.
        capacity: Function that returns how many trials the cluster can run now; one more is handed out in advance.
        unit: Unit of a report: ``epoch`` or ``fold``.
        stop_when_converged: True to start no more trials once they are unlikely to help.
        failures: Rule that gives the search up.
    """

    study: optuna.Study
    objective: Objective
    epochs: int
    num_samples: int
    max_concurrent: int | None
    deadline: float
    configure: Callable[[optuna.Trial], dict[str, Any]]
    storage: str
    live: dict[str, optuna.Trial] = field(default_factory=dict)
    unfinished: list[optuna.Trial] = field(default_factory=list)
    paused: dict[int, optuna.Trial] = field(default_factory=dict)
    capacity: Callable[[], float] = lambda: math.inf
    unit: str = "epoch"
    stop_when_converged: bool = False
    failures: RepeatedFailures = field(default_factory=RepeatedFailures)

    @property
    def given_up(self) -> str | None:
        """Error for which the search was given up, or None."""
        return self.failures.error

    def recover(self) -> None:
        """Finish the trials that an earlier driver ran to their end, and sort the other running ones.

        Those at a rung are judged again, because the study does not say whether they were paused. Call it once, before
        any trial is handed out.
        """
        self.unfinished, self.paused = [], {}
        if any(record.epochs for record in read_trials(self.study)):
            self.failures.saw_epoch()
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial, record = recover_trial(self.study, frozen, self.objective.metric)
            if self.has_ended(record):
                self.finish(trial, failed=False)
            elif record.epochs and trial.should_prune():
                self.paused[trial.number] = trial
            else:
                self.unfinished.append(trial)

    def has_ended(self, record: TrialRecord) -> bool:
        """Return True if a trial was stopped or has sent its last report."""
        return record.stopped is not None or (bool(record.epochs) and record.epochs[-1].epoch >= self.epochs)

    def next_promoted(self) -> int | None:
        """Return the number of the paused trial that may continue, or None."""
        paused = self.paused.keys() - {trial.number for trial in self.live.values()}
        pruner = self.study.pruner
        return pruner.promoted(self.study, paused) if paused and isinstance(pruner, PausingHalving) else None

    def finish(self, trial: optuna.Trial, failed: bool) -> None:
        """Set the final state of a trial in the study (see ``finish_trial``)."""
        self.failures.add(finish_trial(self.study, trial, self.objective.metric, failed))

    def end_if_complete(self) -> None:
        """Finish the trials that still wait, once the search is complete.

        A search that was given up continues with them when it is resumed. Safe to repeat.
        """
        if self.is_complete() and self.given_up is None:
            self.stop_unfinished()

    def stop_unfinished(self) -> None:
        """Finish all unfinished trials as stopped by the time budget, and the paused ones as pruned.

        Those that never ran return to the queue, and those that lack folds stay RUNNING, so that a resumed search with
        more time tries or continues them.
        """
        while self.unfinished:
            trial = self.unfinished[0]
            record = read_record(trial)
            if self.has_ended(record):
                self.finish(trial, failed=False)
            elif not record.epochs and not record.failures:
                queue_again(self.study, trial)
            elif self.unit == "epoch":
                self._stop(trial, TIME_BUDGET)
            del self.unfinished[0]
        self.stop_paused()

    def stop_paused(self) -> None:
        """Finish all paused trials as pruned: the search ends, and they are not among the best at their rung.

        Ray has yet to end those that are live, and ends them as paused ones.
        """
        for number in self.paused.keys() - {trial.number for trial in self.live.values()}:
            self._stop(self.paused[number], PRUNED)
            del self.paused[number]

    def _stop(self, trial: optuna.Trial, reason: str) -> None:
        save_stop(trial, reason)
        self.finish(trial, failed=False)

    def out_of_time(self) -> bool:
        """Return True after the deadline of ``--time-budget``."""
        return time.monotonic() >= self.deadline

    def is_complete(self) -> bool:
        """Return True if no trial is running and none will start."""
        if self.live:
            return False
        if self.out_of_time() or self.given_up is not None:
            return True
        return not self.new_trials_remain() and not self.unfinished and self.next_promoted() is None

    def new_trials_remain(self) -> bool:
        """Return True if the search has trials that were not handed out yet."""
        if self.handed_out() >= self.num_samples:
            return False
        return not self.stop_when_converged or self.convergence() is None

    def convergence(self) -> str | None:
        """Return why more trials are unlikely to help, or None (see ``convergence``).

        A search with two metrics never converges: a trial that is not the best in the first may improve the trade-off.
        """
        if self.objective.second is not None:
            return None
        return convergence(self.study, self.objective.metric)

    def ended(self) -> int:
        """Return how many trials have ended so far, including those of earlier drivers."""
        return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))

    def handed_out(self) -> int:
        """Return how many trials the search has handed out so far, including those of earlier drivers."""
        return len(self.study.get_trials(deepcopy=False)) - len(
            self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        )
