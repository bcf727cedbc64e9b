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

from analysis.trials import TIME_BUDGET
from trainables.core.metric_names import Objective
from tuning.study.record_trial import finish_trial, recover_trial, save_stop
from tuning.study.repeated_failures import RepeatedFailures


@dataclass
class Steering:
    """Settings and running trials of one driver.

    Attributes:
        study: Record of the search.
        objective: One or two metrics to optimise.
        epochs: Epochs of a full trial, or folds if trials are cross-validated.
        num_samples: Number of trials of the search.
        max_concurrent: Maximum number of concurrent trials; None for as many as fit.
        deadline: ``time.time()`` after which no trial starts and running trials stop at their next report.
        configure: Function that turns an Optuna trial into the plain dict of a ``TrainConfig``.
        storage: Path or URI under which Tune writes checkpoints.
        live: Running Optuna trials by Ray's trial ID.
        unfinished: Trials that were started and have to be handed out again.
        capacity: Function that returns how many trials the cluster can run now; one more is handed out in advance.
        unit: Unit of a report: ``epoch`` or ``fold``.
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
    capacity: Callable[[], float] = lambda: math.inf
    unit: str = "epoch"
    failures: RepeatedFailures = field(default_factory=RepeatedFailures)

    @property
    def given_up(self) -> str | None:
        """Error for which the search was given up, or None."""
        return self.failures.error

    def recover(self) -> None:
        """Finish the trials that an earlier driver ran to their end, and put the other running ones in ``unfinished``.

        Call it once, before any trial is handed out.
        """
        self.unfinished = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial, record = recover_trial(self.study, frozen, self.objective.metric)
            if record.stopped or (record.epochs and record.epochs[-1].epoch >= self.epochs):
                self.finish(trial, failed=False)
            else:
                self.unfinished.append(trial)

    def finish(self, trial: optuna.Trial, failed: bool) -> None:
        """Set the final state of a trial in the study (see ``finish_trial``)."""
        self.failures.add(finish_trial(self.study, trial, self.objective.metric, failed))

    def stop_unfinished(self) -> None:
        """Finish all unfinished trials as stopped by the time budget."""
        while self.unfinished:
            trial = self.unfinished.pop(0)
            save_stop(trial, TIME_BUDGET)
            self.finish(trial, failed=False)

    def out_of_time(self) -> bool:
        """Return True after the deadline of ``--time-budget``."""
        return time.time() >= self.deadline

    def is_complete(self) -> bool:
        """Return True if no trial is running and none will start."""
        all_ended = self.handed_out() >= self.num_samples or self.given_up is not None
        return not self.live and (all_ended or self.out_of_time())

    def handed_out(self) -> int:
        """Return how many trials the search has handed out so far, including those of earlier drivers."""
        return len(self.study.get_trials(deepcopy=False)) - len(
            self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        )
