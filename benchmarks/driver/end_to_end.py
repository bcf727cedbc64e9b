"""Wall time of a whole search, against a plain script with Optuna and PyTorch, and where it goes.

Uses 1,280 brain MRI images at 128 px (phantoms if those are missing) and timm's mobilenetv3_small_050 with random
weights, in 6 trials of up to 3 epochs. ``tune-run`` goes first, as a user runs it: with an empty cache, the audit,
MLflow, an ensemble of logged members, and the report. Then the plain script (``plain_search``), which makes none of
these, trains the same configurations for the same numbers of epochs on the same images.

The phases of ``tune-run`` are measured by the lines that it prints. On a machine with other work, compare CPU seconds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from analysis.trials import read_trials
from benchmarks.data.images import mri, source_name
from benchmarks.driver.phases import Phase, load_per_core, run_in_phases
from benchmarks.record import Row, at_most, record
from trainables.core.data.prepare import prepare
from tuning.study.storage.open_study import study_storage

IMAGES, SIZE, TRIALS, EPOCHS = 1280, 128, 6, 3
GOAL, FIXED_GOAL_S = 0.6, 15.0
_HERE = Path(__file__).parent
# By the name of each phase: the line with which it ends.
_PHASES = {
    "imports and checks": r": \d+ images",
    "data: read, decoded, audited": r"^data .*: \d+ fit, ",
    "Ray and MLflow": r"^search ",
    "workers and first epoch": r"^trial \d+ .* epoch 1/",
    "trials": r"^the trials took",
    "ensemble and MLflow": r"^Registered: ",
    "report": r"^Report: ",
}
_TRAINING = ("workers and first epoch", "trials")


def main(repeats: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Run both programs in turns and record the ratio of their median times."""
    seconds: dict[str, list[float]] = {"tune-run": [], "plain": [], "plain, channels_last": []}
    epochs: list[int] = []
    phases: list[list[Phase]] = []
    loads: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = _write_images(folder)
            loads.append(load_per_core())
            phases.append(_tune_run(folder))
            seconds["tune-run"].append(sum(phase.seconds for phase in phases[-1]))
            plan = _plan(folder)
            epochs.append(sum(trial["epochs"] for trial in plan["trials"]))
            (folder / "plan.json").write_text(json.dumps(plan))
            plain = [sys.executable, str(_HERE / "plain_search.py"), str(source), "plan.json"]
            seconds["plain"].append(_timed(plain, folder))
            seconds["plain, channels_last"].append(_timed([*plain, "--channels-last"], folder))
    details = {"images": source_name(), "load per core before": loads, "seconds": seconds, "epochs trained": epochs}
    record(
        "end_to_end", _rows(seconds, phases), {**details, "phases": [[asdict(one) for one in run] for run in phases]}
    )


def _rows(seconds: dict[str, list[float]], phases: list[list[Phase]]) -> list[Row]:
    """Return the ratios of median times, and the median seconds of each phase."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain, channels_last = (medians["tune-run"] / medians[name] for name in ("plain", "plain, channels_last"))
    outside = statistics.median(sum(one.seconds for one in run if one.name not in _TRAINING) for run in phases)
    rows = [
        at_most("a search by tune-run / by the plain script", plain, GOAL),
        Row("... / by the plain script with channels_last", channels_last, "-", None),
        at_most("seconds outside the trials", outside, FIXED_GOAL_S),
    ]
    for runs in zip(*phases, strict=True):
        wall, cpu = (
            statistics.median(each) for each in zip(*((one.seconds, one.cpu_seconds) for one in runs), strict=True)
        )
        rows.append(Row(f"{runs[0].name}, seconds", wall, "-", None))
        rows.append(Row(f"{runs[0].name}, CPU seconds", cpu, "-", None))
    return rows


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


def _tune_run(folder: Path) -> list[Phase]:
    command = [sys.executable, "-m", "tuning.cli.run", str(_HERE / "plain_space.py"), "--data", "data"]
    size = ["--num-samples", str(TRIALS), "--max-epochs", str(EPOCHS), "--address", "local"]
    return run_in_phases([*command, *size], folder, _environment(folder), _PHASES)


def _timed(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=_environment(folder), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "TUNE_RUN_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": "",
        "PYTHONPATH": str(_HERE.parents[1]),
    }


def _plan(folder: Path) -> dict[str, Any]:
    """Return the images, configurations and epochs that ``tune-run`` trained, for the plain script to repeat."""
    data = prepare(str(folder / "data"), sizes=[SIZE], seed=0, store=folder / "cache")
    study = optuna.load_study(study_name="plain_space", storage=study_storage(folder / "results" / "plain_space", None))
    trials = [{**trial.params, "epochs": len(trial.epochs)} for trial in read_trials(study)]
    return {"fit": data.splits["fit"].tolist(), "tune": data.splits["tune"].tolist(), "trials": trials}


if __name__ == "__main__":
    typer.run(main)
