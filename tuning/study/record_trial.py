"""Writing the reports, failures and outcome of single trials into the study.

The study is the only record of a search, so a driver may be killed between any two writes. ``save_report`` writes a
report before its value for the pruner; ``recover_trial`` adds the value if the driver was killed in between.
"""

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.trials import FAILURES, STOPPED, EpochRecord, TrialRecord, read_trial
from trainables.worker.report_keys import FAILED
from tuning.study.storage.optuna_internals import frozen_trial, frozen_trial_by_number, reopen_trial


def read_record(trial: optuna.Trial) -> TrialRecord:
    """Return a running trial as the study holds it now."""
    return read_trial(frozen_trial(trial))


def read_record_by_number(study: optuna.Study, number: int) -> TrialRecord:
    """Return the trial with a number as the study holds it now."""
    return read_trial(frozen_trial_by_number(study, number))


def save_report(trial: optuna.Trial, report: EpochRecord, metric: str) -> None:
    """Save a report, then its best ``metric`` for the pruner."""
    trial.set_user_attr(*report.attribute())
    trial.report(report.metrics[f"best_{metric}"], report.epoch)


def save_failure(trial: optuna.Trial, error: str) -> None:
    """Append an error, in one line, to the failures of a trial."""
    trial.set_user_attr(FAILURES, [*read_record(trial).failures, error])


def save_stop(trial: optuna.Trial, reason: str) -> None:
    """Save why a trial is stopped early."""
    trial.set_user_attr(STOPPED, reason)


def finish_trial(study: optuna.Study, trial: optuna.Trial, metric: str, failed: bool) -> TrialRecord:
    """Set the final state of a trial and return its record.

    The state is FAIL after an error or without a report, PRUNED after an early stop, and otherwise COMPLETE with the
    best value of ``metric``.
    """
    record = read_record(trial)
    if failed or record.stopped == FAILED or not record.epochs:
        study.tell(trial, state=TrialState.FAIL)
    elif record.stopped:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, record.epochs[-1].metrics[f"best_{metric}"])
    return record


def recover_trial(study: optuna.Study, frozen: FrozenTrial, metric: str) -> tuple[optuna.Trial, TrialRecord]:
    """Reopen a trial of an earlier driver, and report to the pruner what that driver saved but did not report."""
    trial, record = reopen_trial(study, frozen), read_trial(frozen)
    for epoch in record.epochs[len(frozen.intermediate_values) :]:
        trial.report(epoch.metrics[f"best_{metric}"], epoch.epoch)
    return trial, record
