"""Joining a Ray cluster, or starting one on this machine."""

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

import analysis
import search_spaces
import trainables
import tuning
from trainables.core.errors import UserError, first_line
from trainables.core.node_cache import STORE_VARIABLE, default_store
from tuning.ray_backend.patches import patch_ray, running_cluster

_CONNECT_TIMEOUT_S = 10.0
# A socket's path has at most 107 bytes: FOLDER/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.
_MAX_TEMP = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_PACKAGES = (analysis, search_spaces, trainables, tuning)
_DRIVER_ENVIRONMENT = {
    # Tune's own loggers, tables and snapshots duplicate the study and the progress display.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Start workers concurrently. The searcher limits the number of trials.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    # Send no usage statistics.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Suppress a notice at every start.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_WORKER_ENVIRONMENT = {
    # A stopped trial's process is reused only if it releases its model within this time; Tune's 2 s are too short.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Each trial has a thread, and glibc would give each thread a memory arena that is never returned.
    "MALLOC_ARENA_MAX": "2",
}


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Join a Ray cluster, or start Ray on this machine.

    The code is shipped to the workers of a cluster as ``py_modules``, and their variables with it. On this machine they
    import the driver's code and inherit its variables, so that Ray can use the worker processes that it starts with.

    Args:
        address: host:port of a cluster, or ``local`` to start Ray here. With None, the cluster that Ray finds is
            joined; if it finds none, Ray is started here.

    Yields:
        True if a running cluster was joined, which may grow.

    Raises:
        UserError: No cluster answers at ``address``, or Ray cannot start here.
    """
    _configure_environment()
    cluster = _cluster_at(address)
    shipped = {
        "py_modules": [str(Path(package.__file__ or "").parent) for package in _PACKAGES],
        "env_vars": {name: os.environ[name] for name in _WORKER_ENVIRONMENT},
    }
    patch_ray(local_only=cluster is None)
    try:
        if cluster and cluster != "auto":
            _check_port(cluster)
        ray.init(
            address=cluster or "local",
            include_dashboard=None if cluster else False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env=shipped if cluster else None,
        )
    except Exception as error:  # Ray raises RuntimeError for other versions, and Exception itself for a slow start
        if _is_refused_token(error):
            where = f"the Ray cluster at {cluster}" if cluster else "Ray with RAY_AUTH_MODE=token"
            remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or copy the cluster's ~/.ray/auth_token"
            raise UserError(f"{where} requires its token, but this machine has none or another: {remedy}") from error
        rule = f"a Ray cluster must answer at {cluster}" if cluster else "Ray must start on this machine"
        remedy = "--address local starts one here" if cluster else "check its free memory, its load, and RAY_TMPDIR"
        raise UserError(f"{rule}, but: {first_line(error)}; {remedy}") from error
    # Ray has installed a SIGTERM handler that aborts. A terminated search shall end like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield bool(cluster)
    finally:
        ray.shutdown()
        patch_ray(local_only=False)  # the next Ray of this process may be part of a cluster


def check_address(address: str | None) -> None:
    """Check ``--address`` or ``RAY_ADDRESS``, or whether Ray can be started here, before anything takes long.

    Raises:
        UserError: The address has another form, or the folder for Ray's sockets has too long a path.
    """
    cluster = _cluster_at(address)
    if cluster is None:
        folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        if len(folder) > _MAX_TEMP:
            raise UserError(
                f"Ray needs a temporary folder whose path has at most {_MAX_TEMP} characters, but {folder} has "
                f"{len(folder)}: set RAY_TMPDIR=/tmp"
            )
    elif cluster != "auto" and not re.fullmatch(r"[^/\s]+:\d+", cluster):
        option = "--address" if address else "RAY_ADDRESS"
        raise UserError(
            f"{option} must be host:port of a cluster's head, auto or local, but got {cluster}: start the search on a "
            "node of the cluster, without Ray Client"
        )


def _cluster_at(address: str | None) -> str | None:
    """Return the address of the cluster to join; None to start Ray here."""
    asked = address or os.environ.get("RAY_ADDRESS")
    return None if asked == "local" else asked or running_cluster()


def _configure_environment() -> None:
    for name, value in (_DRIVER_ENVIRONMENT | _WORKER_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    if STORE_VARIABLE in os.environ:
        os.environ[STORE_VARIABLE] = str(default_store())  # absolute: each worker has its own working directory
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a failed trial is reported in one line and in error.txt


def _is_refused_token(error: BaseException | None) -> bool:
    """Return True for Ray's AuthenticationError, which a refused token leaves only in the text of a cause."""
    while error is not None:
        if isinstance(error, AuthenticationError) or "AuthenticationError" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_port(address: str) -> None:
    """Raise OSError or ValueError if nothing listens at host:port; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
