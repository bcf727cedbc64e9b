"""Joining a Ray cluster, or starting one on this machine."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

import analysis
import search_spaces
import trainables
import tuning
from trainables.core.errors import UserError, first_line
from trainables.core.node_cache import STORE_VARIABLE, default_store
from tuning.ray_backend.patches import patch_ray

_KNOCK_S = 10.0
_REFRESH_S = 5.0
_PATIENCE = "TUNE_FUNCTION_THREAD_TIMEOUT_S"
_PACKAGES = (analysis, search_spaces, trainables, tuning)


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
    if STORE_VARIABLE in os.environ:
        os.environ[STORE_VARIABLE] = str(default_store())  # each worker is in a folder of its own
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
