"""Overhead of a trial beyond its training in seconds, against stock Ray Tune.

Trials of one epoch with a small network and a small data set run one at a time. The overhead is (wall time - training
time) / trials, from the end of the first trial, so that the start of the cluster is not counted. Stock Tune runs a
function trainable that imports torch and timm and trains the same model by the same ``fit``, with Tune's defaults, in
another process and cluster. It runs fewer trials because they are slow.
"""

import math
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import ray
import typer
from PIL import Image
from ray import tune
from ray.tune.experiment import Trial

from benchmarks.record import Row, at_most, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.metric_names import Objective
from tuning.ray_backend.cluster import joined
from tuning.ray_backend.resources import Resources
from tuning.ray_backend.tuner import TrialPolicy, build_tuner
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage

METRIC = "balanced_accuracy"
CONFIG = {
    "backbone": "mobilenetv3_small_050",
    "weights": "random",
    "image_size": 32,
    "head": "linear",
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 32,
    "epochs": 1,
    "device": "cpu",
}
GOAL_S = 0.4


def main(
    trials: Annotated[int, typer.Option(min=5)] = 50, stock_trials: Annotated[int, typer.Option(min=3)] = 8
) -> None:
    """Run stock Tune, then this project's driver."""
    with tempfile.TemporaryDirectory() as name:
        data = small_data(Path(name))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            stock = pool.submit(run_stock, Path(name), data, stock_trials).result()
        with joined("local"):
            ours = _ours(Path(name), data, trials)
    rows = [
        at_most("overhead of a trial, s", ours, GOAL_S),
        Row("overhead of a trial with stock Tune, s", stock, "-", None),
    ]
    record("turnaround", rows, {"trials": trials, "stock trials": stock_trials})


def _ours(folder: Path, data: Dataset, trials: int) -> float:
    study = open_study(study_storage(folder, None), "turnaround", Objective(METRIC), 1, seed=0)
    plain = {key: value for key, value in CONFIG.items() if key != "device"}
    steering = Steering(
        study, Objective(METRIC), 1, trials, 1, math.inf, lambda trial: plain | {"seed": trial.number}, str(folder)
    )
    times = TrialTimes()
    build_tuner(steering, data, TrialPolicy(Resources(1, 0), 0, 3600.0), "session-001", [times]).fit()
    return times.overhead()


def run_stock(folder: Path, data: Dataset, trials: int) -> float:
    """Return the seconds that a trial takes beyond its training."""

    def train(config: dict[str, Any], data: Dataset) -> None:
        """Train and report, as a function trainable."""
        from trainables.core.training.fit import fit

        for result in fit(TrainConfig.from_dict(config), data):
            tune.report({"epoch": result.epoch, "epoch_seconds": result.seconds, **result.metrics})

    ray.init(include_dashboard=False)
    times = TrialTimes()
    tune.Tuner(
        tune.with_resources(tune.with_parameters(train, data=data), {"cpu": 1}),
        param_space=CONFIG | {"seed": tune.randint(0, 1000)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, metric=f"tune/{METRIC}", mode="max"),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0, callbacks=[times]),
    ).fit()
    return times.overhead()


class TrialTimes(tune.Callback):
    """Wall and training seconds from the end of the first trial to the end of the last."""

    def __init__(self) -> None:
        self._ended: list[float] = []
        self._trained: list[float] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:  # noqa: ARG002
        """Record when the trial ended and how long it trained."""
        self._ended.append(time.perf_counter())
        self._trained.append(trial.last_result["epoch_seconds"])

    def overhead(self) -> float:
        """Return the seconds that a trial takes beyond its training."""
        return (self._ended[-1] - self._ended[0] - sum(self._trained[1:])) / (len(self._ended) - 1)


def small_data(folder: Path) -> Dataset:
    """Write and prepare three classes of 60 noisy images of 32 px."""
    generator = np.random.default_rng(0)
    for label in range(3):
        (folder / "images" / str(label)).mkdir(parents=True)
        for index in range(60):
            pixels = generator.integers(0, 60, (32, 32)) + 60 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / str(label) / f"{index}.png")
    return prepare(str(folder / "images"), sizes=[32], seed=0, store=folder / "store")


if __name__ == "__main__":
    typer.run(main)
