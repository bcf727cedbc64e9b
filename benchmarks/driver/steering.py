"""CPU time and memory of the driver over 1,000 trials of up to five reports each, without any training.

Measures CPU seconds of the driver's process per report, and the growth of its resident memory per trial (the slope of
a fitted line). The searcher, scheduler, study journal, MLflow outbox and Ray Tune's control loop are the real ones.
"""

import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from ray import tune
from ray.tune.experiment import Trial

import tuning.ray_backend.tuner
from benchmarks.driver.turnaround import small_data
from benchmarks.record import at_most, record
from trainables.core.metric_names import Objective
from tuning.ray_backend.cluster import joined
from tuning.ray_backend.resources import Resources
from tuning.ray_backend.tuner import TrialPolicy
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage
from tuning.tracking.outbox import Tracker
from tuning.tracking.runs import SearchInfo
from tuning.tracking.server import check_server

REPORTS = 5
CPU_GOAL_MS, MEMORY_GOAL_MB = 20.0, 1.0
METRIC = "balanced_accuracy"


def main(trials: Annotated[int, typer.Option(min=50)] = 1000) -> None:
    """Run the search and record CPU time per report and memory per trial."""
    tuning.ray_backend.tuner.run_trial = train_nothing
    usage = DriverUsage()
    with tempfile.TemporaryDirectory() as name, joined("local"):
        folder = Path(name)
        study = open_study(study_storage(folder, None), "driver", Objective(METRIC), REPORTS, seed=0)
        uri = f"sqlite:///{folder}/mlflow.db"
        check_server(uri)
        tracker = Tracker(study, uri, SearchInfo("driver", "driver", "uid", {}, {}))
        steering = Steering(study, Objective(METRIC), REPORTS, trials, None, math.inf, _suggest, str(folder))
        policy = TrialPolicy(Resources(1, 0), max_failures=0, timeout_s=3600.0)
        tuner = tuning.ray_backend.tuner.build_tuner(steering, small_data(folder), policy, "session-001", [usage])
        before, started = time.process_time(), time.perf_counter()
        tuner.fit()
        tracker.close("FINISHED")
        cpu, wall = time.process_time() - before, time.perf_counter() - started
    slope, deviation = usage.line()
    rows = [
        at_most(f"driver CPU, ms per report ({trials} trials)", 1000 * cpu / usage.reports, CPU_GOAL_MS),
        at_most("driver memory, MB per trial", slope, MEMORY_GOAL_MB),
    ]
    by_tenths = [statistics.mean(part) for part in np.array_split(usage.resident, 10)]
    details = {"deviation from the line, MB": deviation, "memory by tenths of the search, MB": by_tenths}
    record(
        "steering",
        rows,
        {"trials": trials, "reports": usage.reports, "wall, ms per report": 1000 * wall / usage.reports, **details},
    )


def train_nothing(trial: dict[str, Any], **shared: Any) -> None:  # noqa: ARG001
    """Report like a trial, without training."""
    best = 0.5 + 0.4 * trial["train"]["lr"]
    for epoch in range(1, REPORTS + 1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "checkpoint").mkdir()
            metrics = {f"{split}/{name}": best for split in ("train", "tune") for name in ("loss", "accuracy", METRIC)}
            report = {"epoch": epoch, **metrics, f"best_{METRIC}": best, "best_epoch": epoch, "epoch_seconds": 0.0}
            tune.report({**report, "checkpoint_rank": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


def _suggest(trial: Any) -> dict[str, Any]:
    """Suggest up to five parameters, one of which is conditional."""
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    config = {"lr": trial.suggest_float("lr", 0, 1), "backbone": trial.suggest_categorical("backbone", list("abcde"))}
    if optimizer == "sgd":
        config["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return {**config, "optimizer": optimizer, "depth": trial.suggest_int("depth", 0, 4)}


class DriverUsage(tune.Callback):
    """Number of reports, and the driver's resident memory after each trial."""

    def __init__(self) -> None:
        self.reports = 0
        self.resident: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any) -> None:  # noqa: ARG002
        """Count reports."""
        self.reports += "epoch" in result

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Record the resident memory in MB."""
        self.resident.append(psutil.Process(os.getpid()).memory_info().rss / 1e6)

    def line(self) -> tuple[float, float]:
        """Fit a line to memory by trial, without the first tenth, in which caches fill.

        Returns:
            Slope in MB per trial, and standard deviation from the line in MB.
        """
        resident = np.array(self.resident)
        trials = np.arange(len(resident) // 10, len(resident))
        slope, intercept = np.polyfit(trials, resident[trials], 1)
        return float(slope), float((resident[trials] - slope * trials - intercept).std())


if __name__ == "__main__":
    typer.run(main)
