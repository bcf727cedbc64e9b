"""The scheduler of Ray Tune over the study and its pruner."""

import time
from pathlib import Path
from typing import Any

import optuna
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from analysis.trials import DEVICE, PRUNED, STOPPED, TIME_BUDGET, EpochRecord
from trainables.worker.steps import MEASURED_ON
from trainables.worker.trainable import FAILED, HALVED, UNFIT
from tuning.ray_backend.reports import checkpoint_uri, reported_metrics, told_error
from tuning.study.steering import Steering


class StudyScheduler(FIFOScheduler):
    """Writes each report into the study, then asks its pruner."""

    def __init__(self, steering: Steering):
        super().__init__()
        self._steering = steering

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Records the report and decides: STOP where the pruner says so or the time is up."""
        steering = self._steering
        optuna_trial = steering.live[trial.trial_id]
        if UNFIT in result:
            raise OSError(result[UNFIT])  # ends the session: others would fare alike; the trial goes on with the next
        if FAILED in result:
            if not steering.record(optuna_trial).stopped:  # Tune repeats the last report when a trial ends
                steering.note_failure(optuna_trial, str(result[FAILED]))
            return self._stop(optuna_trial, FAILED)
        epoch = int(result["epoch"])
        recorded = steering.record(optuna_trial).epochs
        if recorded and recorded[-1].epoch >= epoch:  # Tune repeats the last report when a trial ends
            return str(TrialScheduler.CONTINUE)
        if HALVED in result:
            steering.note_failure(optuna_trial, str(result[HALVED]))
        if MEASURED_ON in result:
            optuna_trial.set_user_attr(DEVICE, result[MEASURED_ON])
        report = EpochRecord(
            epoch=epoch,
            metrics=reported_metrics(result),
            time_ms=round(time.time() * 1000),
            checkpoint=checkpoint_uri(steering.storage, trial, result),
        )
        optuna_trial.set_user_attr(*report.attribute())
        optuna_trial.report(result[f"best_{steering.objective.metric}"], epoch)
        if epoch >= steering.epochs:
            return str(TrialScheduler.CONTINUE)
        if optuna_trial.should_prune():
            return self._stop(optuna_trial, PRUNED)
        if time.time() >= steering.deadline:
            return self._stop(optuna_trial, TIME_BUDGET)
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """Notes the error's first line; whether the trial is tried again is Tune's to decide."""
        super().on_trial_error(tune_controller, trial)
        optuna_trial = self._steering.live.get(trial.trial_id)
        if optuna_trial is not None:
            self._steering.note_failure(optuna_trial, told_error(Path(trial.error_file).read_text()))

    @staticmethod
    def _stop(trial: optuna.Trial, reason: str) -> str:
        trial.set_user_attr(STOPPED, reason)
        return str(TrialScheduler.STOP)
