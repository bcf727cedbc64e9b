"""Reports per second that the study and MLflow accept.

Fifty trials of twenty epochs report in turns through the real scheduler, without a pause; then the MLflow outbox sends
all reports. Wall time is measured, because the driver waits for its writes. The storages are a journal and a SQLite
file in the temporary folder, or the servers given by ``--study-storage`` and ``--tracking-uri``.
"""

import math
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import optuna
import typer

from benchmarks.record import Row, record
from trainables.core.metric_names import Objective
from tuning.ray_backend.scheduler import StudyScheduler
from tuning.ray_backend.searcher import StudySearcher
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage
from tuning.study.storage.single_writer_storage import become_single_writer
from tuning.tracking.outbox import Tracker
from tuning.tracking.runs import SearchInfo
from tuning.tracking.server import check_server

TRIALS, EPOCHS, METRIC = 50, 20, "balanced_accuracy"


def main(
    study: Annotated[
        str | None, typer.Option("--study-storage", help="Optuna storage URL. Default: a journal file.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow tracking URI. Default: a SQLite file.")] = None,
    name: Annotated[str, typer.Option(help="Name of the result file.")] = "writes",
) -> None:
    """Measure one pair of storages."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = f"writes {time.time()}"
    with tempfile.TemporaryDirectory() as folder:
        uri = tracking_uri or f"sqlite:///{folder}/mlflow.db"
        opened = open_study(
            study_storage(Path(folder), study), search, Objective(METRIC), EPOCHS, seed=0, pruning=False
        )
        become_single_writer(opened)
        steering = Steering(opened, Objective(METRIC), EPOCHS, TRIALS, None, math.inf, _suggest, folder)
        started = time.perf_counter()
        _report(steering)
        into_study = time.perf_counter() - started
        check_server(uri)
        tracker = Tracker(opened, uri, SearchInfo("writes", search, "uid", {}, {}))
        started = time.perf_counter()
        tracker.close("FINISHED")
        into_mlflow = time.perf_counter() - started
    rows = [
        Row("reports per second into the study", TRIALS * EPOCHS / into_study, "-", None),
        Row("reports per second into MLflow", TRIALS * EPOCHS / into_mlflow, "-", None),
    ]
    kinds = [(place or default).partition(":")[0] for place, default in ((study, "journal"), (uri, ""))]
    record(name, rows, {"study": kinds[0], "MLflow": kinds[1], "trials": TRIALS, "epochs": EPOCHS})


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {"lr": trial.suggest_float("lr", 0, 1), "backbone": trial.suggest_categorical("backbone", list("abcde"))}


def _report(steering: Steering) -> None:
    """Report the epochs of all trials in turns, as Tune's control loop does."""
    searcher, scheduler = StudySearcher(steering), StudyScheduler(steering)
    names = [f"ray-{number}" for number in range(TRIALS)]
    for name in names:
        searcher.suggest(name)
    for epoch in range(1, EPOCHS + 1):
        metrics = {f"{split}/{name}": 0.5 for split in ("train", "tune") for name in ("loss", "accuracy", METRIC)}
        best = {f"best_{METRIC}": 0.5, "best_epoch": 1, "epoch_seconds": 1.0}
        result = {"epoch": epoch, **metrics, **best, "checkpoint_dir_name": f"checkpoint_{epoch:06d}"}
        for name in names:
            place = SimpleNamespace(
                trial_fs_path=f"{steering.storage}/session-001/{name}", storage_fs_path=steering.storage
            )
            trial = SimpleNamespace(trial_id=name, storage=place, run_metadata=SimpleNamespace())
            scheduler.on_trial_result(None, trial, result)
    for name in names:
        searcher.on_trial_complete(name)


if __name__ == "__main__":
    typer.run(main)
