"""Write the repository's table from recorded lines: ``python -m benchmarks.curves.pack FOLDER``."""

import gzip
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.curves.data_sets import Scale
from benchmarks.curves.record import LINES, read_lines
from benchmarks.curves.table import SETTING, TABLES


def main(
    folder: Annotated[Path, typer.Argument(help="Folder that benchmarks.curves.record wrote.")],
) -> None:
    """Check, sort and compress the trials."""
    trials = list(read_lines(folder / LINES))
    setting = json.loads((folder / SETTING).read_text())
    table = TABLES[Scale(setting["scale"])]
    table.parent.mkdir(parents=True, exist_ok=True)
    pack(trials, table, setting["epochs"])
    shutil.copy(folder / SETTING, table.with_name(SETTING))
    for name in sorted({trial["data_set"] for trial in trials}):
        of_set = [trial for trial in trials if trial["data_set"] == name]
        seconds = [sum(epoch["seconds"] for epoch in trial["epochs"]) for trial in of_set]
        failed = sum(trial["failed"] is not None for trial in of_set)
        print(
            f"{name}: {len(of_set)} trials, {failed} failed, {sum(seconds):.0f} CPU seconds, "
            f"median {statistics.median(seconds):.1f}"
        )
    print(f"{table}: {table.stat().st_size / 1e6:.2f} MB")


def pack(trials: Sequence[dict[str, Any]], table: Path, epochs: int) -> None:
    """Write trials, sorted by data set and configuration. Equal trials give equal bytes.

    Raises:
        ValueError: A trial occurs twice, or its epochs are incomplete.
    """
    keys = [(trial["data_set"], trial["configuration"]) for trial in trials]
    if len(set(keys)) < len(keys):
        raise ValueError("every trial must occur once, but one was recorded twice")
    for key, trial in zip(keys, trials, strict=True):
        numbers = [epoch["epoch"] for epoch in trial["epochs"]]
        if numbers != list(range(1, len(numbers) + 1)) or (trial["failed"] is None and len(numbers) != epochs):
            raise ValueError(f"a trial must have epochs 1 to {epochs} or have failed, but {key} has {numbers}")
    ordered = sorted(trials, key=lambda trial: (trial["data_set"], trial["configuration"]))
    lines = "".join(f"{json.dumps(trial, separators=(',', ':'))}\n" for trial in ordered)
    table.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    typer.run(main)
