"""Joining a Ray cluster, or starting one on this machine."""

import logging
import math
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

import analysis
import search_spaces
import trainables
import tuning
from trainables.core.errors import UserError, first_line
from tuning.cards import CARD
from tuning.patches import patch_ray

_KNOCK_S = 10.0
_REFRESH_S = 5.0
_PATIENCE = "TUNE_FUNCTION_THREAD_TIMEOUT_S"
_PACKAGES = (analysis, search_spaces, trainables, tuning)


@dataclass(frozen=True)
class Resources:
    """What one trial reserves: CPUs, (fractions of) GPUs, and which class of ``tuning.cards`` these must be of."""

    cpus: float
    gpus: float
    card: str | None = None

    def bundle(self) -> dict[str, float]:
        """By the names that Ray has for them, nothing of which is none."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, self.card or "GPU": self.gpus}
        return {name: amount for name, amount in amounts.items() if amount}

    def fit(self, node: Mapping[str, float]) -> int:
        """How many trials a node of such resources can run at once."""
        return int(min(node.get(name, 0) // amount for name, amount in self.bundle().items()))


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Joins the cluster at ``address``, else the one that Ray finds, else (or for ``local``) starts one here.

    The code travels to the workers of a cluster as ``py_modules``; on this machine they import what the driver does.

    Yields:
        Whether a running cluster was joined, which may grow by more nodes.

    Raises:
        UserError: No cluster answers at ``address``.
    """
    # Tune's own loggers, tables and snapshots repeat what the study and the live view hold.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    # Tune would begin its workers one after another; how many trials are asked for is the searcher's to say.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a search leaves the cluster
    # Ray would print this notice on every start otherwise.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a failed trial is told in one line, and in error.txt
    joins = None if address == "local" else address or os.environ.get("RAY_ADDRESS") or _cluster_on_this_machine()
    # A stopped trial's process takes the next one only if it lets go of its model within so long; Tune's 2 s are short.
    # Each trial has a thread of its own, and with it glibc would give each memory that none other gives back.
    of_workers = {_PATIENCE: "60", "MALLOC_ARENA_MAX": "2"}
    of_workers = {name: os.environ.get(name, value) for name, value in of_workers.items()}
    code = {"py_modules": [str(Path(package.__file__ or "").parent) for package in _PACKAGES]} if joins else {}
    patch_ray(alone=joins is None)
    try:
        if joins and joins != "auto":
            _knock(joins)
        ray.init(
            address=address,
            include_dashboard=None if joins else False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={**code, "env_vars": of_workers},
        )
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: its versions differ from the driver's
        if joins is None:
            raise
        message = f"a Ray cluster must answer at {joins}, but: {first_line(error)}; --address local starts one here"
        raise UserError(message) from error
    # Ray has just taken SIGTERM for itself and would abort; a terminated search shall end like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield bool(joins)
    finally:
        ray.shutdown()
        patch_ray(alone=False)  # what this process starts next may be a node of many


def _knock(address: str) -> None:
    """Raises OSError or ValueError where nothing listens at host:port; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _cluster_on_this_machine() -> str | None:
    """The cluster that ``ray start`` left a note of, which ``ray.init`` would join."""
    from ray._private.utils import read_ray_address

    found: str | None = read_ray_address()
    return found


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
            f"a trial must fit on a node, but it needs {_told(resources.bundle())} and the nodes have {there}: "
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


class GpuHours:
    """GPU hours for which the cluster has had its nodes, busy or not, since this was made."""

    def __init__(self, price: float | None = None):
        self._price = price
        self._hours, self._gpus, self._asked = 0.0, _gpus(), time.monotonic()

    def hours(self) -> float:
        """The number; of nodes that come and go it is some seconds late."""
        now = time.monotonic()
        if now > self._asked + _REFRESH_S:
            self._hours += self._gpus * (now - self._asked) / 3600
            self._gpus, self._asked = _gpus(), now
        return self._hours + self._gpus * (now - self._asked) / 3600

    def told(self) -> str:
        """The same in words, with what they have cost where the price of one is known; nothing without GPUs."""
        hours = self.hours()
        cost = "" if self._price is None else f", {hours * self._price:.2f} at {self._price:g} each"
        return f"{hours:.2f} GPU hours{cost}" if hours or self._gpus else ""


def _gpus() -> float:
    return sum(float(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"])
