"""A lease that admits one driver per study, on any host, for studies stored in a database."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna

from trainables.core.errors import UserError

_LEASE = "driver"
_BEAT_S = 5.0
_MISSED_BEATS = 3  # a driver that missed this many counts as dead
_SETTLE_S = 1.0  # time for drivers that start simultaneously to overwrite each other's lease


@contextmanager
def leased(study: optuna.Study, on_lost: Callable[[], None], beat_s: float = _BEAT_S) -> Iterator[None]:
    """Hold the study for this driver.

    The holder changes the lease at every beat. A newcomer watches an existing lease for several beats instead of
    comparing timestamps, so the clocks of two hosts need not agree.

    Args:
        study: Study in a database.
        on_lost: Called from a thread if another driver takes the lease because this one missed too many beats.
        beat_s: Seconds between beats.

    Raises:
        UserError: Another driver holds the study.
    """
    _wait_for_silence(study, beat_s)
    token = uuid.uuid4().hex
    _beat(study, token, 0)
    time.sleep(min(_SETTLE_S, beat_s))
    if not _holds(study, token):
        raise _held_by_another(study)
    stop = threading.Event()
    arguments = (study, token, on_lost, beat_s, stop)
    thread = threading.Thread(target=_keep_beating, args=arguments, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(Exception):  # if the database is unreachable, the lease expires instead
            if _holds(study, token):
                study.set_user_attr(_LEASE, None)


def _wait_for_silence(study: optuna.Study, beat_s: float) -> None:
    lease = study.user_attrs.get(_LEASE)
    until = time.monotonic() + _MISSED_BEATS * beat_s
    while lease is not None and time.monotonic() < until:
        time.sleep(beat_s / 5)
        current = study.user_attrs.get(_LEASE)
        if current is None:
            return
        if current != lease:
            raise _held_by_another(study)


def _held_by_another(study: optuna.Study) -> UserError:
    lease: dict[str, Any] = study.user_attrs[_LEASE]
    return UserError(
        f"a search can have one driver at a time, but process {lease['pid']} on {lease['host']} is running "
        f"{study.study_name!r}: wait for it to end, or choose another --name"
    )


def _keep_beating(
    study: optuna.Study, token: str, on_lost: Callable[[], None], beat_s: float, stop: threading.Event
) -> None:
    beat = 0
    while not stop.wait(beat_s):
        beat += 1
        held = True
        with suppress(Exception):  # an unreachable database is reported by the code that needs it
            held = _holds(study, token)
            if held:
                _beat(study, token, beat)
        if not held:
            on_lost()
            return


def _beat(study: optuna.Study, token: str, beat: int) -> None:
    study.set_user_attr(_LEASE, {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "beat": beat})


def _holds(study: optuna.Study, token: str) -> bool:
    lease = study.user_attrs.get(_LEASE)
    return lease is not None and lease["token"] == token
