"""Record real learning curves: ``python -m benchmarks.curves.record --output FOLDER``.

Runs each configuration of ``configurations`` on each data set of ``data_sets`` in this process, on one CPU thread. Each
finished trial is one JSON line in ``FOLDER/trials.jsonl``, written by a single call. Run the command again after an
interruption: it cuts a torn last line off and continues with the trials that are missing. A new folder starts with the
trials of the repository's table if they are of the same processor, versions and images: seconds and scores of different
ones must not be compared. Data sets alternate, so that an unfinished table is balanced.
``benchmarks.curves.pack`` turns the lines into the table of the repository.
"""

import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import optuna
import torch
import typer

from benchmarks.curves.configurations import config_of, draw_params, recipe_name
from benchmarks.curves.data_sets import DATA_SETS, FOLDER, IMAGE_SIZE, Scale, load_data_set
from benchmarks.curves.record_trial import record_trial
from benchmarks.curves.table import SETTING, TABLES
from benchmarks.record import machine
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.node_cache import STORE_VARIABLE

EPOCHS = 9
LINES = "trials.jsonl"


def main(
    output: Annotated[Path, typer.Option(help="Folder for the lines and the cache of decoded images and outputs.")],
    scale: Annotated[Scale, typer.Option(help="Table to record.")] = Scale.LARGE,
    configurations: Annotated[int, typer.Option(min=1, help="Number of configurations.")] = 160,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Data sets to record; default: all. Two processes can share the output."),
    ] = None,
) -> None:
    """Record all trials that the output lacks."""
    if unknown := sorted(set(only or ()) - set(DATA_SETS)):
        raise typer.BadParameter(f"--only must name data sets of {', '.join(DATA_SETS)}, but got {', '.join(unknown)}")
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(STORE_VARIABLE, str(output / "store"))
    data = {name: load_data_set(name, scale) for name in DATA_SETS}
    file = start(output, setting(data, scale), TABLES[scale])
    done = {(trial["data_set"], trial["configuration"]) for trial in read_lines(file)}
    for index, params in enumerate(draw_params(configurations, scale)):
        for name in only or data:
            if (name, index) in done:
                continue
            started = time.perf_counter()
            trial = {"data_set": name, "configuration": index, "recipe": recipe_name(params), "params": params}
            config = train_config(params, index)
            described = {key: value for key, value in config.to_dict().items() if key != "weights"}
            append_line(file, {**trial, "config": described, **record_trial(config, data[name])})
            print(f"{name} {index}: {time.perf_counter() - started:.1f} s", flush=True)


def train_config(params: dict[str, Any], seed: int) -> TrainConfig:
    """Return the configuration of a trial, with the settings that all trials share."""
    shared = {"weights": str(FOLDER / "weights"), "image_size": IMAGE_SIZE, "epochs": EPOCHS, "device": "cpu"}
    return TrainConfig.from_dict({**config_of(params), **shared, "seed": seed})


def start(output: Path, now: dict[str, Any], table: Path) -> Path:
    """Return the file of lines to continue: the folder's, or that of the repository's table if its setting is ours.

    Args:
        output: Folder of the recording.
        now: Result of ``setting``.
        table: Packed table, with its setting beside it.

    Raises:
        typer.BadParameter: The folder's trials have another setting.
    """
    file, noted = output / LINES, output / SETTING
    if not file.exists() and table.exists() and _differences(table.with_name(SETTING), now) == []:
        file.write_bytes(gzip.decompress(table.read_bytes()))
        print("continuing the trials of the repository's table")
    elif file.exists() and (different := _differences(noted, now)):
        raise typer.BadParameter(
            f"trials of one table must have the same setting, but {output} has another {', '.join(different)}: "
            "give a new --output"
        )
    noted.write_text(json.dumps(now, indent=1) + "\n")
    remove_torn_line(file)
    return file


def _differences(noted: Path, now: dict[str, Any]) -> list[str]:
    """Return the names of the parts in which a noted setting differs from ours; all of them without one."""
    before = json.loads(noted.read_text()) if noted.exists() else {}
    return [name for name in now if before.get(name) != now[name]]


def setting(data: dict[str, Dataset], scale: Scale) -> dict[str, Any]:
    """Return the hardware, the versions, the images of each split and class, and a digest of each split."""
    images = {
        name: {split: one.count_classes(indices) for split, indices in one.splits.items()} for name, one in data.items()
    }
    splits = {
        name: {split: hashlib.sha256(indices.tobytes()).hexdigest()[:16] for split, indices in one.splits.items()}
        for name, one in data.items()
    }
    return {
        "scale": scale,
        "machine": machine(),
        "epochs": EPOCHS,
        "image_size": IMAGE_SIZE,
        "images": images,
        "splits": splits,
    }


def append_line(file: Path, content: dict[str, Any]) -> None:
    """Append one JSON line by a single call, so that a killed process leaves whole lines and at most one torn one."""
    line = f"{json.dumps(content, separators=(',', ':'))}\n".encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_torn_line(file: Path) -> None:
    """Cut off a last line without an end, which a killed process may have left."""
    if file.exists():
        content = file.read_bytes()
        os.truncate(file, content.rfind(b"\n") + 1)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the recorded trials."""
    if file.exists():
        with file.open() as lines:
            yield from map(json.loads, lines)


if __name__ == "__main__":
    typer.run(main)
