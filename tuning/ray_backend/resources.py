"""Per-trial resource requests, and how many trials fit on the cluster."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import ray

from trainables.core.errors import UserError
from trainables.core.plural import plural
from tuning.ray_backend.gpu_classes import PREFIX

_REFRESH_S = 5.0


@dataclass(frozen=True)
class Resources:
    """Resources of one trial.

    Attributes:
        cpus: Number of CPUs.
        gpus: Number of GPUs. Fractions share one; several, which are on one node, train together.
        gpu_class: Smallest memory class of each GPU, such as ``gpu_24g``, or None for any.
    """

    cpus: float
    gpus: float
    gpu_class: str | None = None

    @property
    def devices(self) -> int:
        """The number of devices that train a trial together."""
        return max(1, int(self.gpus))

    def with_one_gpu(self) -> Self:
        """Return the resources of work that uses at most one GPU."""
        return replace(self, gpus=min(self.gpus, 1.0))

    def with_whole_gpu(self) -> Self:
        """Return the resources of work that must have a GPU to itself, if trials use GPUs at all."""
        return replace(self, gpus=float(min(math.ceil(self.gpus), 1)))

    def bundle(self) -> dict[str, float]:
        """Return the amounts by Ray's resource names, without zeros."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, self.gpu_class or "GPU": self.gpus}
        return {name: amount for name, amount in amounts.items() if amount}

    def fit(self, node: Mapping[str, float]) -> int:
        """Return how many trials a node with these resources can run concurrently.

        A share of a GPU must fit on a single one: four GPUs have room for 0.6 four times.
        """
        counts = {name: _times(node.get(name, 0), amount) for name, amount in self.bundle().items()}
        if 0 < self.gpus < 1:
            counts["GPU"] = int(node.get("GPU", 0)) * _times(1, self.gpus)
        return min(counts.values())

    def describe(self) -> str:
        """Return a phrase like ``2 CPUs, 0.5 GPUs, 0.5 gpu_24g``."""
        return _describe(self.bundle())


def _times(available: float, amount: float) -> int:
    """Divide as Ray does, in units of 1/10,000, so that 1 holds 0.1 ten times."""
    return round(available * 10_000) // round(amount * 10_000)


def trial_resources(cpus: float | None, gpus: float | None, can_grow: bool, gpu_class: str | None = None) -> Resources:
    """Choose the resources of a trial: a GPU with its share of the CPUs if the cluster has GPUs, else one CPU.

    Without GPUs, many single-threaded trials finish sooner than a few with many threads.

    Args:
        cpus: Requested CPUs, or None.
        gpus: Requested GPUs, or None.
        can_grow: True if nodes may join later. Requests that fit no present node are then accepted.
        gpu_class: Requested memory class, or None. Without ``gpus``, it requests one GPU.

    Raises:
        UserError: No node could run such a trial.
    """
    if can_grow and cpus is not None and gpus is not None:
        return Resources(cpus, gpus, gpu_class)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    all_gpus = sum(node.get("GPU", 0) for node in nodes)
    if gpus is None:
        gpus = 1.0 if gpu_class else float(min(1, all_gpus))
    able = [node for node in nodes if gpus and Resources(0, gpus, gpu_class).fit(node)]
    if cpus is None:
        shares = [node.get("CPU", 1) // Resources(0, gpus).fit(node) for node in able]
        cpus = max(1.0, min(shares, default=1.0))
    resources = Resources(cpus, gpus, gpu_class)
    if not any(resources.fit(node) for node in nodes):
        available = "; ".join(_describe(node) for node in nodes)
        grow = "; if nodes start on demand, give both --cpus-per-trial and --gpus-per-trial" if can_grow else ""
        raise UserError(
            f"a trial must fit on a node, but it needs {resources.describe()} and the nodes have {available}: "
            f"lower --cpus-per-trial{', --gpu-memory' if gpu_class else ''} or --gpus-per-trial{grow}"
        )
    return resources


def _describe(amounts: Mapping[str, float]) -> str:
    classes = [f"{amount:g} {name}" for name, amount in amounts.items() if name.startswith(PREFIX)]
    counts = [plural(float(amounts.get(name, 0)), name) for name in ("CPU", "GPU")]
    return ", ".join([*counts, *classes])


class Capacity:
    """Number of trials that the cluster can run concurrently, refreshed every few seconds.

    Args:
        resources: Resources of one trial.
        at_least: Lower bound, for a cluster that starts nodes on demand.
    """

    def __init__(self, resources: Resources, at_least: int = 0):
        self._resources, self._at_least = resources, at_least
        self._slots, self._refreshed = 0, -math.inf

    def __call__(self) -> int:
        """Return the number of trials."""
        if time.monotonic() > self._refreshed + _REFRESH_S:
            self._slots, self._refreshed = slots(self._resources), time.monotonic()
        return max(self._slots, self._at_least)


def nodes_for(resources: Resources) -> list[Mapping[str, float]]:
    """Return what the nodes have that can run such a trial."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [node for node in nodes if resources.fit(node)]


def slots(resources: Resources) -> int:
    """Return how many trials the nodes of the cluster can run concurrently."""
    return sum(resources.fit(node["Resources"]) for node in ray.nodes() if node["Alive"])
