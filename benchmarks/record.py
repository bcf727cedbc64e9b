"""Results of benchmarks, written to one JSON file each, with hardware and versions."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "albumentations", "scikit-learn")


@dataclass(frozen=True)
class Row:
    """A measurement with its goal.

    Attributes:
        measurement: Name and unit.
        measured: The value; None if the program did not run.
        goal: The goal, such as ``<= 4``, or empty.
        met: True if the goal was met; None without a goal.
    """

    measurement: str
    measured: float | None
    goal: str
    met: bool | None


def at_most(measurement: str, measured: float, goal: float) -> Row:
    """Return the row of a measurement with an upper limit."""
    return Row(measurement, measured, f"<= {goal:g}", measured <= goal)


def at_least(measurement: str, measured: float, goal: float) -> Row:
    """Return the row of a measurement with a lower limit."""
    return Row(measurement, measured, f">= {goal:g}", measured >= goal)


def record(name: str, rows: list[Row], details: dict[str, Any]) -> None:
    """Write ``results/<name>.json`` and print the rows."""
    write(name, rows, details)
    show(rows)


def write(name: str, rows: list[Row], details: dict[str, Any]) -> None:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "taken": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "details": details,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def show(rows: list[Row]) -> None:
    """Print measurements and goals as a table."""
    table = Table("measurement", "measured", "goal", "met")
    for row in rows:
        measured = "not measured" if row.measured is None else f"{row.measured:.3g}"
        table.add_row(row.measurement, measured, row.goal, {True: "yes", False: "no", None: ""}[row.met])
    Console().print(table)


def machine() -> dict[str, Any]:
    """Return the hardware and the versions of Python and the main packages; None for those that are not installed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "system": platform.system(),
        **{package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # a GPU machine needs neither Ray nor MLflow
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
