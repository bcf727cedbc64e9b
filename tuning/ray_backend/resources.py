"""What a trial reserves, and how many of them the cluster's nodes can run."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray

from trainables.core.errors import UserError
from tuning.ray_backend.gpu_classes import CARD

_REFRESH_S = 5.0


@dataclass(frozen=True)
class Resources:
    """Resources of one trial: CPUs, (fractions of) GPUs, and the least memory class of each GPU."""

    cpus: float
    gpus: float
    card: str | None = None

    def bundle(self) -> dict[str, float]:
        """By the names that Ray has for them, nothing of which is none."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, self.card or "GPU": self.gpus}
        return {name: amount for name, amount in amounts.items() if amount}

    def fit(self, node: Mapping[str, float]) -> int:
        """How many trials a node of such resources can run at once."""
        return min(_times(node.get(name, 0), amount) for name, amount in self.bundle().items())

    def told(self) -> str:
        """In words."""
        return _told(self.bundle())


def _times(there: float, amount: float) -> int:
    """How often an amount is there; Ray counts in ten thousandths, where ten times 0.1 is 1."""
    return round(there * 10_000) // round(amount * 10_000)


def trial_resources(cpus: float | None, gpus: float | None, can_grow: bool, card: str | None = None) -> Resources:
    """What a trial reserves: a GPU where the cluster has any, with its share of the CPUs; else one CPU.

    On CPUs alone, many trials of one thread finish sooner than few of many.

    Args:
        cpus: As given, or None.
        gpus: As given, or None.
        can_grow: Whether nodes may join later; then what was given outright is taken at its word.
        card: The class of its GPU, or None.

    Raises:
        UserError: No node could run such a trial.
    """
    if can_grow and cpus is not None and gpus is not None:
        return Resources(cpus, gpus, card)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    all_gpus = sum(node.get("GPU", 0) for node in nodes)
    gpus = gpus if gpus is not None else float(min(1, all_gpus))
    able = [node for node in nodes if gpus and Resources(0, gpus, card).fit(node)]
    if cpus is None:
        shares = [node.get("CPU", 1) // (node["GPU"] / gpus) for node in able]
        cpus = max(1.0, min(shares, default=1.0))
    resources = Resources(cpus, gpus, card)
    if not any(resources.fit(node) for node in nodes):
        there = "; ".join(_told(node) for node in nodes)
        grow = "; where nodes come on demand, give both --cpus-per-trial and --gpus-per-trial" if can_grow else ""
        raise UserError(
            f"a trial must fit on a node, but it needs {resources.told()} and the nodes have {there}: "
            f"lower --cpus-per-trial{', --gpu-memory' if card else ''} or --gpus-per-trial{grow}"
        )
    return resources


def _told(amounts: Mapping[str, float]) -> str:
    cards = [f"{amount:g} {name}" for name, amount in amounts.items() if name.startswith(CARD)]
    return ", ".join([f"{amounts.get('CPU', 0):g} CPUs", f"{amounts.get('GPU', 0):g} GPUs", *cards])


class Capacity:
    """How many trials the cluster can run at once, asked anew every few seconds; ``at_least`` so many if it grows."""

    def __init__(self, resources: Resources, at_least: int = 0):
        self._resources, self._at_least = resources, at_least
        self._slots, self._asked = 0, -math.inf

    def __call__(self) -> int:
        """The number."""
        if time.monotonic() > self._asked + _REFRESH_S:
            self._slots, self._asked = slots(self._resources), time.monotonic()
        return max(self._slots, self._at_least)


def slots(resources: Resources) -> int:
    """How many trials the nodes that are there can run at once."""
    return sum(resources.fit(node["Resources"]) for node in ray.nodes() if node["Alive"])
