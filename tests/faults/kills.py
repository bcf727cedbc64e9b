"""A driver that kills itself with SIGKILL when it reaches a named point for the n-th time.

python -m tests.faults.kills POINT N SPACE ...    runs `tune-run SPACE ...` and kills it there
"""

import json
import os
import signal
import sys
from pathlib import Path

import optuna
from mlflow import MlflowClient

import analysis.ensembles.tasks.classification
import tuning.ensemble.publish
import tuning.study.storage.journal
from tuning.study.steering import Steering
from tuning.study.successive_halving import PausingHalving


def arm(point, nth):
    """Kill this process when it reaches the point for the n-th time."""
    (POINTS | PAUSES)[point](_Countdown(nth))


class _Countdown:
    def __init__(self, count):
        self._remaining = count

    def tick(self):
        self._remaining -= 1
        if self._remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _before(owner, name, countdown, applies=lambda *args: True):
    original = getattr(owner, name)

    def patched(*args, **kwargs):
        if applies(*args):
            countdown.tick()
        return original(*args, **kwargs)

    setattr(owner, name, patched)


def _after(owner, name, countdown, applies=lambda result: True):
    original = getattr(owner, name)

    def patched(*args, **kwargs):
        result = original(*args, **kwargs)
        if applies(result):
            countdown.tick()
        return result

    setattr(owner, name, patched)


def _partial_journal_line(countdown):
    original = tuning.study.storage.journal.Journal.append_logs

    def patched(journal, logs):
        with journal._file.open("ab") as file:  # half a line reaches the disk; removed if the driver survives
            size = file.tell()
            file.write(json.dumps(logs[0]).encode()[: len(json.dumps(logs[0])) // 2])
            file.flush()
            countdown.tick()
            file.truncate(size)
        original(journal, logs)

    tuning.study.storage.journal.Journal.append_logs = patched


def _acknowledges(study, key, value):
    return key.startswith("mlflow:trial:")


POINTS = {
    "during a write to the journal": _partial_journal_line,
    "before the rename of decoded images": lambda countdown: _before(
        Path, "rename", countdown, lambda path, target: path.name.endswith(".partial")
    ),
    "trial created, not handed out": lambda countdown: _after(optuna.Study, "ask", countdown),
    "epoch saved, not reported": lambda countdown: _before(optuna.Trial, "report", countdown),
    "between report and decision": lambda countdown: _before(optuna.Trial, "should_prune", countdown),
    "trial ended, not finished in the study": lambda countdown: _before(optuna.Study, "tell", countdown),
    "trial finished in the study": lambda countdown: _after(optuna.Study, "tell", countdown),
    "MLflow run created, not acknowledged": lambda countdown: _after(MlflowClient, "create_run", countdown),
    "metrics sent, not acknowledged": lambda countdown: _before(
        optuna.Study, "set_user_attr", countdown, _acknowledges
    ),
    "one batch of metrics sent": lambda countdown: _after(MlflowClient, "log_batch", countdown),
    "test opened, not scored": lambda countdown: _before(analysis.ensembles.tasks.classification, "score", countdown),
    "model logged, not saved in the study": lambda countdown: _after(
        tuning.ensemble.publish, "register_ensemble", countdown
    ),
    "run ended, not acknowledged": lambda countdown: _after(MlflowClient, "set_terminated", countdown),
}


def _epoch_of_a_continued_trial(countdown):
    """Before the report of an epoch by which a trial goes beyond a step at which it was paused."""
    paused = set()
    judge, report = PausingHalving.prune, optuna.Trial.report

    def judging(pruner, study, trial):
        pauses = judge(pruner, study, trial)
        paused.update([(trial.number, trial.last_step + 1)] if pauses else [])
        return pauses

    def reporting(trial, value, step):
        if (trial.number, step) in paused:
            countdown.tick()
        report(trial, value, step)

    PausingHalving.prune, optuna.Trial.report = judging, reporting


# Points that a search reaches only if a trial pauses, and continues.
PAUSES = {
    "trial pauses, not ended in Ray": lambda countdown: _after(
        optuna.Trial, "should_prune", countdown, lambda pauses: pauses
    ),
    "paused trial may continue, not handed out": lambda countdown: _after(
        Steering, "next_promoted", countdown, lambda number: number is not None
    ),
    "epoch of a continued trial saved, not reported": _epoch_of_a_continued_trial,
}


def main():
    from tuning.cli.run import main as run

    point, nth = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    arm(point, nth)
    run()


if __name__ == "__main__":
    main()
