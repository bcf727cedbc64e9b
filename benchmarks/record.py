"""Where a benchmark's figures go: one JSON file each, with the hardware and the versions that they were taken on."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "albumentations", "scikit-learn")


@dataclass(frozen=True)
class Row:
    """A measurement with its goal."""

    measurement: str
    measured: float | None  # None where its program did not run
    goal: str
    met: bool | None  # None where there is no goal


def at_most(measurement: str, measured: float, goal: float) -> Row:
    """The smaller, the better."""
    return Row(measurement, measured, f"<= {goal:g}", measured <= goal)


def at_least(measurement: str, measured: float, goal: float) -> Row:
    """The larger, the better."""
    return Row(measurement, measured, f">= {goal:g}", measured >= goal)


def record(name: str, rows: list[Row], details: dict[str, Any]) -> None:
    """Writes ``results/<name>.json`` and prints the rows."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "taken": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "details": details,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    show(rows)


def show(rows: list[Row]) -> None:
    """Prints measurements and goals."""
    table = Table("measurement", "measured", "goal", "met")
    for row in rows:
        measured = "not measured" if row.measured is None else f"{row.measured:.3g}"
        table.add_row(row.measurement, measured, row.goal, {True: "yes", False: "no", None: ""}[row.met])
    Console().print(table)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "system": platform.system(),
        **{package: version(package) for package in _PACKAGES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
