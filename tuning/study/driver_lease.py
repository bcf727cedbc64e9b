"""One driver a study, whichever host it is on: a lease that lies in the study, for studies that lie in a database."""

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
_MISSED = 3  # beats after which a driver counts as dead
_SETTLE_S = 1.0  # longer than two drivers that begin at once need to overwrite each other


@contextmanager
def leased(study: optuna.Study, lost: Callable[[], None], beat_s: float = _BEAT_S) -> Iterator[None]:
    """Holds the study for this driver.

    The holder changes the lease at every beat. Whoever finds a lease watches it for some beats instead of comparing
    times, so the clocks of two hosts need not agree.

    Args:
        study: In a database.
        lost: Called, from a thread, when another driver has taken the lease because this one did not beat for long.
        beat_s: Seconds between beats.

    Raises:
        UserError: Another driver holds it.
    """
    _wait_for_silence(study, beat_s)
    token = uuid.uuid4().hex
    _beat(study, token, 0)
    time.sleep(min(_SETTLE_S, beat_s))
    if not _holds(study, token):
        raise _taken(study)
    stop = threading.Event()
    thread = threading.Thread(target=_keep, args=(study, token, lost, beat_s, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(Exception):  # a database that is away frees the lease by the beats that do not come
            if _holds(study, token):
                study.set_user_attr(_LEASE, None)


def _wait_for_silence(study: optuna.Study, beat_s: float) -> None:
    found = study.user_attrs.get(_LEASE)
    until = time.monotonic() + _MISSED * beat_s
    while found is not None and time.monotonic() < until:
        time.sleep(beat_s / 5)
        now = study.user_attrs.get(_LEASE)
        if now is None:
            return
        if now != found:
            raise _taken(study)


def _taken(study: optuna.Study) -> UserError:
    lease: dict[str, Any] = study.user_attrs[_LEASE]
    return UserError(
        f"one driver at a time works on a search, but process {lease['pid']} on {lease['host']} is on "
        f"{study.study_name!r}: wait for it, or take another --name"
    )


def _keep(study: optuna.Study, token: str, lost: Callable[[], None], beat_s: float, stop: threading.Event) -> None:
    beat = 0
    while not stop.wait(beat_s):
        beat += 1
        held = True
        with suppress(Exception):  # the database is away: whoever needs it says so
            held = _holds(study, token)
            if held:
                _beat(study, token, beat)
        if not held:
            lost()
            return


def _beat(study: optuna.Study, token: str, beat: int) -> None:
    study.set_user_attr(_LEASE, {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "beat": beat})


def _holds(study: optuna.Study, token: str) -> bool:
    lease = study.user_attrs.get(_LEASE)
    return lease is not None and lease["token"] == token
