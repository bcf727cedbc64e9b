"""Ray Tune's scheduler, which leaves decisions to the study and its pruner."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from analysis.trials import DEVICE, TIME_BUDGET, EpochRecord
from trainables.worker.report_keys import FAILED, HALVED, MEASURED_ON, UNFIT
from tuning.ray_backend.callbacks.dropped_trials import live_trials
from tuning.ray_backend.patches import forget_failures
from tuning.ray_backend.reports import checkpoint_uri, error_line, reported_metrics
from tuning.study.record_trial import read_record, save_failure, save_report, save_stop
from tuning.study.steering import Steering


class StudyScheduler(FIFOScheduler):
    """Scheduler that writes each report into the study and then asks the study's pruner."""

    def __init__(self, steering: Steering):
        super().__init__()
        self._steering = steering
        self._restarts: Counter[int] = Counter()  # of trials that had not started, by number; since the last report

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as ``StudySearcher`` does."""
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """Return the trial that starts next. After the deadline there is none, and those that wait are ended."""
        steering = self._steering
        if steering.out_of_time():
            waiting = [
                trial
                for trial in live_trials(steering, tune_controller.get_trials())
                if trial.status == RayTrial.PENDING
            ]
            steering.unfinished += [steering.live.pop(trial.trial_id) for trial in waiting]
            for trial in waiting:
                tune_controller.stop_trial(trial)
            steering.stop_unfinished()
        chosen: RayTrial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Record a report and decide: STOP if the trial has to pause or the time is up.

        A paused trial ends for Tune, which frees its resources at once. It continues as another trial of Tune's.
        """
        steering = self._steering
        optuna_trial = steering.live[trial.trial_id]
        if UNFIT in result:
            raise OSError(result[UNFIT])  # ends the session, since other trials would fail too; --resume continues
        record = read_record(optuna_trial)
        if FAILED in result:
            if not record.stopped:  # Tune repeats the last report when a trial ends
                save_failure(optuna_trial, str(result[FAILED]))
            return _stop(optuna_trial, FAILED)
        epoch = int(result["epoch"])
        if record.epochs and record.epochs[-1].epoch >= epoch:  # Tune repeats the last report when a trial ends
            return str(TrialScheduler.CONTINUE)
        if HALVED in result:
            save_failure(optuna_trial, str(result[HALVED]))
        if MEASURED_ON in result:
            optuna_trial.set_user_attr(DEVICE, result[MEASURED_ON])
        report = EpochRecord(
            epoch=epoch,
            metrics=reported_metrics(result),
            time_ms=round(time.time() * 1000),
            checkpoint=checkpoint_uri(steering.storage, trial, result),
        )
        save_report(optuna_trial, report, steering.objective.metric)
        forget_failures(trial)
        self._restarts.pop(optuna_trial.number, None)
        steering.failures.saw_epoch()
        if epoch >= steering.epochs:
            return str(TrialScheduler.CONTINUE)
        if optuna_trial.should_prune():
            steering.paused[optuna_trial.number] = optuna_trial
            return str(TrialScheduler.STOP)
        if not steering.out_of_time():
            return str(TrialScheduler.CONTINUE)
        if steering.unit == "fold":  # no ensemble can use a trial that lacks folds: a resumed search continues it
            steering.unfinished.append(steering.live.pop(trial.trial_id))
            return str(TrialScheduler.STOP)
        return _stop(optuna_trial, TIME_BUDGET)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        """Save the error's first line; Tune decides whether the trial is retried.

        If the process that a trial was to reuse has died, Tune first announces a retry, and then fails the trial while
        it is PENDING (``ActorManager._actor_task_failed``). Such a trial is handed out again.
        """
        super().on_trial_error(tune_controller, trial)
        steering = self._steering
        optuna_trial = steering.live.get(trial.trial_id)
        if optuna_trial is None:
            return
        error, not_started = error_line(Path(trial.error_file).read_text()), trial.status == RayTrial.PENDING
        if not (not_started and error in read_record(optuna_trial).failures[-1:]):  # announced twice
            save_failure(optuna_trial, error)
        if not_started and self._restarts[optuna_trial.number] < trial.max_failures:
            self._restarts[optuna_trial.number] += 1
            steering.unfinished.append(steering.live.pop(trial.trial_id))


def _stop(trial: optuna.Trial, reason: str) -> str:
    save_stop(trial, reason)
    return str(TrialScheduler.STOP)
