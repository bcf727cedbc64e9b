"""The Optuna study as the one record of a search, and what makes Ray Tune obey it.

``StudySearcher`` hands out what the study holds or asks for; ``StudyScheduler`` writes every report into the study and
asks its pruner. Neither has state that the study lacks, so a search can be taken up by a new process at any moment.
"""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from analysis.trials import FAILURES, STOPPED, TIME_BUDGET, TrialRecord, read_trial
from trainables.core.errors import ConfigError, NonFiniteLossError
from trainables.core.metric_names import Objective
from trainables.worker.trainable import FAILED

# So many trials in a row must fail alike, without an epoch, for the search to be given up.
ALIKE = 3
# Errors of a configuration, not of where it runs: after the first trials they say nothing of the search as a whole.
_OF_THE_CONFIG = (NonFiniteLossError.__name__, torch.OutOfMemoryError.__name__, ConfigError.__name__)


@dataclass
class Steering:
    """What the searcher and the scheduler of one driver share.

    Attributes:
        study: The record.
        objective: The metric, or two, to optimise.
        epochs: Epochs of a full trial; its folds, where trials are cross-validated.
        num_samples: How many trials the search shall have.
        max_concurrent: How many may run at once, or None for as many as fit.
        deadline: ``time.time()`` after which nothing new begins and running trials stop at their next report.
        configure: From an Optuna trial to the plain dict of a ``TrainConfig``.
        storage: Path or URI under which Tune writes checkpoints.
        live: Optuna trials by Ray's trial id: which process-local handle stands for which trial.
        unfinished: Trials that were begun and are to be handed out again.
        given_up: The error for which the search was given up, because trial after trial ended with it.
        capacity: How many trials the cluster can run at once now; one more than that is asked ahead.
        unit: What a report is of: ``epoch`` or ``fold``.
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
    given_up: str | None = None
    capacity: Callable[[], float] = lambda: math.inf
    unit: str = "epoch"
    _alike: list[str] = field(default_factory=list)
    _got_anywhere: bool = False

    def settle(self) -> list[optuna.Trial]:
        """Tells what a killed driver left untold; returns the trials that are to go on, by number."""
        unfinished = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = optuna.Trial(self.study, frozen._trial_id)
            record = read_trial(frozen)
            for epoch in record.epochs[len(frozen.intermediate_values) :]:
                trial.report(epoch.metrics[f"best_{self.objective.metric}"], epoch.epoch)
            if record.stopped or (record.epochs and record.epochs[-1].epoch >= self.epochs):
                self.tell(trial, failed=False)
            else:
                unfinished.append(trial)
        return unfinished

    def record(self, trial: optuna.Trial) -> TrialRecord:
        """The trial as the study holds it now."""
        return read_trial(self.study._storage.get_trial(trial._trial_id))

    def read(self, number: int) -> TrialRecord:
        """The trial of that number as the study holds it now."""
        storage = self.study._storage
        return read_trial(
            storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))
        )

    def note_failure(self, trial: optuna.Trial, reason: str) -> None:
        """Adds an error's line to the trial's."""
        trial.set_user_attr(FAILURES, [*self.record(trial).failures, reason])

    def tell(self, trial: optuna.Trial, failed: bool) -> None:
        """Closes a trial in the study: FAIL, PRUNED where it was stopped early, else COMPLETE with its best value."""
        record = self.record(trial)
        if failed or record.stopped == FAILED or not record.epochs:
            self.study.tell(trial, state=TrialState.FAIL)
        elif record.stopped:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, record.epochs[-1].metrics[f"best_{self.objective.metric}"])
        self._give_up_if_alike(record)

    def _give_up_if_alike(self, record: TrialRecord) -> None:
        """Gives the search up where trial after trial ends without an epoch and for one reason."""
        if record.epochs or not record.failures:
            self._got_anywhere, self._alike = True, []
        elif not (self._got_anywhere and record.failures[-1].startswith(_OF_THE_CONFIG)):
            # Sizes, epochs and names in a message vary with the configuration.
            self._alike.append(re.sub(r"'[^']*'|[\d.]+", "#", record.failures[-1]))
            if len(self._alike) >= ALIKE and len(set(self._alike[-ALIKE:])) == 1:
                self.given_up = record.failures[-1]

    def run_out(self) -> None:
        """Tells the trials that were to go on, but for which no time is left."""
        while self.unfinished:
            trial = self.unfinished.pop(0)
            trial.set_user_attr(STOPPED, TIME_BUDGET)
            self.tell(trial, failed=False)

    def is_complete(self) -> bool:
        """Whether nothing is left to do: all trials were handed out and have ended, or the time is up."""
        all_ended = self.handed_out() >= self.num_samples or self.given_up is not None
        return not self.live and (all_ended or time.time() >= self.deadline)

    def handed_out(self) -> int:
        """How many trials were ever handed out."""
        return len(self.study.get_trials(deepcopy=False)) - len(
            self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        )
