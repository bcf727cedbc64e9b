"""Options of the panel "Resources" of ``tune-run``."""

import math
import re
from functools import partial
from typing import Annotated, Any

import typer

_SMALLEST_SHARE = 0.01  # of a GPU; Ray knows no less than 0.0001
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_option = partial(typer.Option, rich_help_panel="Resources")


def parse_duration(text: str) -> float:
    """Return the seconds in a duration such as ``1h30m``, or raise BadParameter."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"a duration must look like 90s, 30m, 2h or 1h30m and not be 0, but got {text!r}")
    return seconds


def parse_gpus(text: str) -> float | str:
    """Return a number of GPUs or ``auto``, or raise BadParameter."""
    if text == "auto":
        return text
    try:
        gpus = float(text)
    except ValueError:
        gpus = math.nan
    if gpus == 0 or gpus >= _SMALLEST_SHARE:
        return gpus
    raise typer.BadParameter(f"GPUs per trial must be 0, at least {_SMALLEST_SHARE}, or auto, but got {text!r}")


CpusPerTrial = Annotated[
    float | None,
    _option(min=0.01, help="CPUs per trial. Default: its GPU's share of the node's CPUs; 1 without a GPU."),
]
GpusPerTrial = Annotated[
    Any,
    _option(
        parser=parse_gpus,
        metavar="NUMBER",
        help="GPUs per trial: fractions share one, several train together. With auto, one configuration per backbone "
        "is measured first, to find how many trials fit on a GPU. Default: 1 if there are any, else 0.",
    ),
]
GpuMemory = Annotated[
    float | None,
    _option(
        min=1,
        metavar="GB",
        help="Minimum memory of a trial's GPU, on clusters that announce their GPU classes. Implies 1 GPU per trial.",
    ),
]
Autoscale = Annotated[
    int, _option(min=0, help="Number of concurrent trials for which an autoscaling cluster should grow.")
]
PricePerGpuHour = Annotated[float | None, _option(min=0, help="Price of one GPU hour, to show the cost of the search.")]
MaxConcurrent = Annotated[
    int | None, _option(min=1, help="Maximum number of concurrent trials. Default: as many as fit.")
]
MaxFailures = Annotated[
    int,
    _option(
        min=0,
        help="Number of retries of a trial whose worker raises an error, is killed, or hangs. The count restarts with "
        "each finished epoch.",
    ),
]
TrialTimeout = Annotated[
    float | None,
    _option(
        parser=parse_duration,
        metavar="TIME",
        help="Time limit for one epoch; a longer one counts as a hang and its worker is killed. Default: 1h.",
    ),
]
Address = Annotated[
    str | None,
    _option(help="Ray cluster to join, or local to start one here. Default: the one Ray finds, else local."),
]
