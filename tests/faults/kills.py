"""A driver that dies by SIGKILL at a named point, for the n-th time that it gets there.

python -m tests.faults.kills POINT N SPACE ...    runs `tune-run SPACE ...` with that point armed
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
import tuning.study.journal


def arm(point, nth):
    """Arms a point in this process."""
    POINTS[point](_Fuse(nth))


class _Fuse:
    def __init__(self, left):
        self._left = left

    def burn(self):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _before(owner, name, fuse, matters=lambda *args: True):
    original = getattr(owner, name)

    def struck(*args, **kwargs):
        if matters(*args):
            fuse.burn()
        return original(*args, **kwargs)

    setattr(owner, name, struck)


def _after(owner, name, fuse):
    original = getattr(owner, name)

    def struck(*args, **kwargs):
        result = original(*args, **kwargs)
        fuse.burn()
        return result

    setattr(owner, name, struck)


def _torn_journal(fuse):
    original = tuning.study.journal.Journal.append_logs

    def torn(journal, logs):
        with journal._file.open("ab") as file:  # half of it reaches the disk; taken back where the driver lives on
            size = file.tell()
            file.write(json.dumps(logs[0]).encode()[: len(json.dumps(logs[0])) // 2])
            file.flush()
            fuse.burn()
            file.truncate(size)
        original(journal, logs)

    tuning.study.journal.Journal.append_logs = torn


def _acknowledges(study, key, value):
    return key.startswith("mlflow:trial:")


POINTS = {
    "mid-write of the journal": _torn_journal,
    "before the rename of decoded images": lambda fuse: _before(
        Path, "rename", fuse, lambda path, target: path.name.endswith(".partial")
    ),
    "trial asked, not handed out": lambda fuse: _after(optuna.Study, "ask", fuse),
    "epoch recorded, not reported": lambda fuse: _before(optuna.Trial, "report", fuse),
    "between report and decision": lambda fuse: _before(optuna.Trial, "should_prune", fuse),
    "decided, not told": lambda fuse: _before(optuna.Study, "tell", fuse),
    "told": lambda fuse: _after(optuna.Study, "tell", fuse),
    "MLflow run made, not noted": lambda fuse: _after(MlflowClient, "create_run", fuse),
    "metrics sent, not acknowledged": lambda fuse: _before(optuna.Study, "set_user_attr", fuse, _acknowledges),
    "half of a batch of metrics sent": lambda fuse: _after(MlflowClient, "log_batch", fuse),
    "test opened, not scored": lambda fuse: _before(analysis.ensembles.tasks.classification, "score", fuse),
    "model logged, not noted": lambda fuse: _after(tuning.ensemble.publish, "register_ensemble", fuse),
    "run ended, not acknowledged": lambda fuse: _after(MlflowClient, "set_terminated", fuse),
}


def main():
    from tuning.cli.run import main as run

    point, nth = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:3]
    arm(point, nth)
    run()


if __name__ == "__main__":
    main()
