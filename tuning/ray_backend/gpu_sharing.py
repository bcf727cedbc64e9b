"""``--gpus-per-trial auto``: how many trials share a GPU."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from rich.console import Console

from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError, first_line
from trainables.core.metric_names import Objective
from trainables.core.plural import plural
from trainables.worker.gpu_load import GpuLoad, measure_load
from trainables.worker.inference import task_options
from tuning.console import say
from tuning.ray_backend.resources import Resources, nodes_for
from tuning.ray_backend.tuner import TrialPolicy

_MOST = 8  # trials on one GPU
_UNIT = 10_000  # Ray counts resources in units of 1/10,000
_PATIENCE_S = 120.0


def measure_loads(
    configs: Sequence[Mapping[str, Any]], data: Dataset, objective: Objective, policy: TrialPolicy, console: Console
) -> list[GpuLoad]:
    """Train configurations on the cluster, each on a GPU of its own, and return their loads.

    Args:
        configs: Dicts of ``TrainConfig``.
        data: Data set to train on.
        objective: Metric, or two, to optimise.
        policy: Resources of a trial with a whole GPU, time limit of an epoch, and requirements on nodes.
        console: Console for progress.

    Raises:
        UserError: A measurement failed.
    """
    options = task_options(policy.resources.bundle())
    task, reference = ray.remote(max_retries=0, **options)(measure_load), ray.put(data)
    limits = (policy.timeout_s, policy.requirements)
    pending = tasks = [task.remote(config, reference, objective, *limits) for config in configs]
    try:
        while pending := ray.wait(pending, num_returns=len(pending), timeout=_PATIENCE_S)[1]:
            say(
                console,
                f"still measuring {plural(len(pending), 'trial')}, or waiting for a node with "
                f"{policy.resources.describe()} free: `ray status` shows what is in use",
            )
        loads: list[GpuLoad] = ray.get(tasks)
    except RayError as error:
        reason = first_line(error.cause if isinstance(error, RayTaskError) else error)
        raise UserError(
            f"--gpus-per-trial auto cannot measure a trial: {reason}. Fix that, or give a number; then rerun with "
            "--resume"
        ) from error
    finally:
        for unfinished in pending:
            ray.cancel(unfinished, force=True)
    return loads


def shared_gpu(
    resources: Resources, cpus: float | None, loads: Sequence[GpuLoad], trials: int, console: Console
) -> Resources:
    """Return the resources of one of several trials that share a GPU, and print how many do.

    Args:
        resources: Resources of one trial with a whole GPU.
        cpus: CPUs that the user gives to a trial; None for its share of the GPU's.
        loads: Loads of single trials.
        trials: Number of trials that may run at once.
        console: Console for the result.
    """
    nodes = nodes_for(resources)
    gpus = sum(node["GPU"] for node in nodes) or 1
    of_gpu = min((node.get("CPU", 0) / node["GPU"] for node in nodes), default=resources.cpus)
    limits = {
        "the number of trials": math.ceil(trials / gpus),
        "its CPUs": of_gpu / (cpus or 1),
        **load_limits(loads),
        "the most that share one": _MOST,
    }
    reason, limit = min(limits.items(), key=lambda item: item[1])
    count = max(1, math.floor(limit))
    say(console, f"{_describe(loads)}: {plural(count, 'trial')} per GPU, limited by {reason}")
    if count == 1:
        return resources
    return replace(resources, cpus=cpus or float(of_gpu // count), gpus=math.floor(_UNIT / count) / _UNIT)


def load_limits(loads: Sequence[GpuLoad]) -> dict[str, float]:
    """Return how many trials fit on a GPU, by what limits them.

    Its memory must hold as many as run at once even if all of them are the largest. Its time must suffice for the
    average one. If none of their times is known, a GPU takes one trial.
    """
    memory, busy = max(load.memory for load in loads), _busy(loads)
    by_time = {"its time": 1 / max(busy, 1 / _MOST)} if busy is not None else {"its time, which is unknown": 1.0}
    return {"its memory": 1 / max(memory, 1 / _MOST), **by_time}


def _busy(loads: Sequence[GpuLoad]) -> float | None:
    """Return the share of the time that an average trial keeps a GPU busy; None if none is known."""
    known = [load.busy for load in loads if load.busy is not None]
    return fmean(known) if known else None


def _describe(loads: Sequence[GpuLoad]) -> str:
    failures = [load.failure for load in loads if load.failure]
    if failures:
        return f"{len(failures)} of {plural(len(loads), 'trial')} did not fit on a GPU: {failures[0]}"
    memory, busy = max(load.memory for load in loads), _busy(loads)
    time = "an unknown share" if busy is None else f"{busy:.0%}"
    return f"a trial needs up to {memory:.0%} of a GPU's memory, and on average {time} of its time"
