"""Wall time of a whole search, against a plain script with Optuna and PyTorch.

Uses 1,280 brain MRI images at 128 px (phantoms if those are missing) and timm's mobilenetv3_small_050 with random
weights, in 6 trials of 3 epochs. ``tune-run`` goes first, with an empty cache, MLflow and an ensemble. Then the plain
script (``plain_search``) trains the same configurations for the same numbers of epochs on the same images.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from analysis.trials import read_trials
from benchmarks.data.images import mri, source_name
from benchmarks.record import Row, at_most, record
from trainables.core.data.prepare import prepare
from tuning.study.storage.open_study import study_storage

IMAGES, SIZE, TRIALS, EPOCHS = 1280, 128, 6, 3
GOAL = 0.6
_HERE = Path(__file__).parent


def main(repeats: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Run both programs in turns and record the ratio of their median times."""
    seconds: dict[str, list[float]] = {"tune-run": [], "plain": [], "plain, channels_last": []}
    epochs: list[int] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = _write_images(folder)
            seconds["tune-run"].append(_tune_run(folder))
            plan = _plan(folder)
            epochs.append(sum(trial["epochs"] for trial in plan["trials"]))
            (folder / "plan.json").write_text(json.dumps(plan))
            plain = [sys.executable, str(_HERE / "plain_search.py"), str(source), "plan.json"]
            seconds["plain"].append(_timed(plain, folder))
            seconds["plain, channels_last"].append(_timed([*plain, "--channels-last"], folder))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain, channels_last = (medians["tune-run"] / medians[name] for name in ("plain", "plain, channels_last"))
    rows = [
        at_most("a search by tune-run / by the plain script", plain, GOAL),
        Row("... / by the plain script with channels_last", channels_last, "-", None),
    ]
    record("end_to_end", rows, {"images": source_name(), "seconds": seconds, "epochs trained": epochs})


def _write_images(folder: Path) -> Path:
    """Write a training split, which both programs divide as ``tune-run`` does."""
    (folder / "data").mkdir()
    target = folder / "data" / "train-00000-of-00001.parquet"
    table = mri("train")
    labels = table["label"].to_numpy()
    rare = np.flatnonzero(labels == np.bincount(labels).argmin())
    others = np.setdiff1d(np.arange(len(labels)), rare)
    wanted = min(len(others), IMAGES - len(rare))
    spread = others[np.linspace(0, len(others) - 1, wanted).astype(int)]
    chosen = np.sort(np.concatenate([rare, spread]))
    pq.write_table(table.take(pa.array(chosen)), target)
    return target


def _tune_run(folder: Path) -> float:
    command = [sys.executable, "-m", "tuning.cli.run", str(_HERE / "plain_space.py"), "--data", "data"]
    size = ["--num-samples", str(TRIALS), "--max-epochs", str(EPOCHS), "--no-pruning"]
    return _timed([*command, *size, "--address", "local", "--no-report"], folder)  # the plain script makes none either


def _timed(command: list[str], folder: Path) -> float:
    environment = os.environ | {
        "TUNE_RUN_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": "",
        "PYTHONPATH": str(_HERE.parents[1]),
    }
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _plan(folder: Path) -> dict[str, Any]:
    """Return the images, configurations and epochs that ``tune-run`` trained, for the plain script to repeat."""
    data = prepare(str(folder / "data"), sizes=[SIZE], seed=0, store=folder / "cache")
    study = optuna.load_study(study_name="plain_space", storage=study_storage(folder / "results" / "plain_space", None))
    trials = [{**trial.params, "epochs": len(trial.epochs)} for trial in read_trials(study)]
    return {"fit": data.splits["fit"].tolist(), "tune": data.splits["tune"].tolist(), "trials": trials}


if __name__ == "__main__":
    typer.run(main)
