"""``--gpus-per-trial auto``: how many trials share a GPU."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console

from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError, first_line
from trainables.core.metric_names import Objective
from trainables.core.plural import plural
from trainables.worker.gpu_load import GpuLoad, measure_loads
from tuning.console import say

MEASURED_TRIALS = 3
_MOST = 8  # trials on one GPU
_UNIT = 10_000  # Ray counts resources in units of 1/10,000


def measured_share(
    configs: Sequence[Mapping[str, Any]],
    data: Dataset,
    objective: Objective,
    cpus: float | None,
    gpu_class: str | None,
    can_grow: bool,
    console: Console,
) -> float:
    """Measure trials on one GPU of the cluster, and return the share of a GPU that each trial should reserve.

    Without a GPU the answer is 0. If nodes start on demand, the measurement waits for one with a GPU.

    Args:
        configs: Dicts of ``TrainConfig``.
        data: Data set to train on.
        objective: Metric, or two, to optimise.
        cpus: CPUs of one trial; None if it may do with one.
        gpu_class: Memory class of the GPU, or None for any.
        can_grow: True if nodes may join later.
        console: Console for progress.

    Raises:
        UserError: The measurement failed.
    """
    if not can_grow and not _gpu_nodes():
        say(console, "--gpus-per-trial auto: no node has a GPU, so trials run on CPUs")
        return 0.0
    say(console, f"--gpus-per-trial auto: measuring {plural(len(configs), 'trial')} on a GPU")
    task = ray.remote(num_cpus=cpus or 1, num_gpus=1, resources={gpu_class: 1} if gpu_class else None)(measure_loads)
    try:
        loads: list[GpuLoad] = ray.get(task.remote(configs, ray.put(data), objective))
    except RayError as error:
        reason = first_line(error.cause if isinstance(error, RayTaskError) else error)
        raise UserError(f"--gpus-per-trial auto could not measure a trial: {reason}; give a number instead") from error
    cpus_per_gpu = min(node.get("CPU", 0) / node["GPU"] for node in _gpu_nodes())
    count = trials_per_gpu(loads, cpus_per_gpu / (cpus or 1))
    say(console, f"{_describe(loads)}: {plural(count, 'trial')} per GPU")
    return math.floor(_UNIT / count) / _UNIT


def trials_per_gpu(loads: Sequence[GpuLoad], by_cpus: float) -> int:
    """Return how many trials share a GPU.

    The largest one must fit in as often, and on average they must not keep the GPU busy for more than all of its time.

    Args:
        loads: Loads of single trials. If one of them is not fully known, trials share nothing.
        by_cpus: Number of trials for which a GPU's share of the CPUs suffices.
    """
    busy = [load.busy for load in loads if load.busy is not None]
    if len(busy) < len(loads):
        return 1
    needed = max(fmean(busy), *(load.memory for load in loads))
    return max(1, math.floor(min(_MOST, by_cpus, 1 / needed if needed else _MOST)))


def _gpu_nodes() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]


def _describe(loads: Sequence[GpuLoad]) -> str:
    memory = max(load.memory for load in loads)
    busy = [load.busy for load in loads if load.busy is not None]
    time = f"{fmean(busy):.0%} of its time" if len(busy) == len(loads) else "an unknown share of its time"
    return f"a trial needs up to {memory:.0%} of the GPU's memory and {time}"
