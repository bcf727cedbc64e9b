"""A lease that admits one driver per study, on any host, for studies stored in a database."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import optuna
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from trainables.core.errors import UserError
from tuning.study.storage.advisory_lock import AdvisoryLock
from tuning.study.storage.fence import Fence, Fenced, LostSearchError, OnLost
from tuning.study.storage.optuna_internals import StoredAttribute, storage_of

_LEASE = "driver"
_BEAT_S = 5.0
_MISSED_BEATS = 3.0  # a driver that missed this many counts as dead
_MISSED_BEATS_DISCONNECTED = 1.5  # the same if its connection to the database has ended
_FREE = "null"


@contextmanager
def leased(study: optuna.Study, on_lost: OnLost, beat_s: float = _BEAT_S) -> Iterator[None]:
    """Hold the study for this driver.

    The holder changes the lease at every beat. A newcomer watches an existing lease for several beats instead of
    comparing timestamps, so the clocks of two hosts need not agree. In PostgreSQL the holder also has an advisory lock,
    which ends with its connection; a newcomer that gets it watches for half as long. Before each commit the holder
    reads its lease in the same transaction, so a driver that was paused cannot write after another one has taken over.

    Args:
        study: Study in a database.
        on_lost: Called, from the thread that noticed it, if another driver has taken the lease.
        beat_s: Seconds between beats.

    Raises:
        UserError: Another driver holds the study.
    """
    row, fence = StoredAttribute(study, _LEASE), Fence(uuid.uuid4().hex, on_lost)
    row.create(_FREE)
    with closing(AdvisoryLock(row.engine, study.study_name)) as lock:
        text = _take(row, lock, study, fence.token, beat_s)
        stop = threading.Event()
        with _fenced(study, row, fence, _MISSED_BEATS * beat_s):
            beats = threading.Thread(
                target=_beat, args=(row, lock, fence, text, beat_s, stop), name="lease", daemon=True
            )
            beats.start()
            try:
                yield
            finally:
                stop.set()
                beats.join()


def _take(row: StoredAttribute, lock: AdvisoryLock, study: optuna.Study, token: str, beat_s: float) -> str:
    """Wait for silence, take the lease, and return its text. Of simultaneous newcomers, one gets it."""
    seen = _read(row)
    silent_since = connected_until = time.monotonic()
    while not _is_free(seen):
        now = time.monotonic()
        if not _has_disconnected(seen, lock):
            connected_until = now
        if now >= min(silent_since + _MISSED_BEATS * beat_s, connected_until + _MISSED_BEATS_DISCONNECTED * beat_s):
            break
        time.sleep(beat_s / 5)
        if (current := _read(row)) != seen:
            if not _is_free(current):
                raise _held_by_another(study, current)
            seen = current
    lease = {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "locked": lock.take(), "beat": 0}
    ours = json.dumps(lease)
    if not row.replace(seen, ours):
        raise _held_by_another(study, _read(row))
    return ours


def _has_disconnected(seen: str, lock: AdvisoryLock) -> bool:
    """Return True if a holder that had the lock has lost it, because its connection has ended.

    It may be alive all the same: if its connection broke, it locks again at its next beat, and behind a connection
    pooler the lock can be ours although the holder never lost it. So the watch goes on for more than a beat.
    """
    return bool(json.loads(seen).get("locked")) and lock.take()


def _read(row: StoredAttribute) -> str:
    with row.engine.connect() as connection:
        return row.read(connection) or _FREE


def _is_free(text: str) -> bool:
    return text == _FREE or bool(json.loads(text).get("released"))


def _held_by_another(study: optuna.Study, text: str) -> UserError:
    lease: dict[str, Any] = json.loads(text) or {"pid": "unknown", "host": "another host"}
    return UserError(
        f"a search can have one driver at a time, but process {lease['pid']} on {lease['host']} is running "
        f"{study.study_name!r}: wait for it to end, or choose another --name"
    )


@contextmanager
def _fenced(study: optuna.Study, row: StoredAttribute, fence: Fence, patience_s: float) -> Iterator[None]:
    """Check the lease in each transaction of the study's storage."""

    def check(connection: Connection) -> None:
        fence.check(json.loads(row.read(connection) or _FREE) or {})

    def check_now() -> None:
        with row.engine.connect() as connection:
            check(connection)

    storage = storage_of(study)
    assert isinstance(storage, Fenced)
    storage.fence = check_now
    event.listen(row.engine, "commit", check)
    with _no_idle_transactions(row.engine, patience_s):
        try:
            yield
        finally:
            event.remove(row.engine, "commit", check)
            storage.fence = None


@contextmanager
def _no_idle_transactions(engine: Engine, seconds: float) -> Iterator[None]:
    """Let PostgreSQL end a transaction in which this driver was paused, because it locks the lease for newcomers."""
    if engine.dialect.name != "postgresql":
        yield
        return

    def limit(connection: Any, record: object) -> None:  # noqa: ARG001
        connection.cursor().execute(f"SET idle_in_transaction_session_timeout = {round(1000 * seconds)}")
        connection.commit()

    event.listen(engine, "connect", limit)
    engine.dispose()
    try:
        yield
    finally:
        event.remove(engine, "connect", limit)


def _beat(
    row: StoredAttribute, lock: AdvisoryLock, fence: Fence, text: str, beat_s: float, stop: threading.Event
) -> None:
    """Change the lease at every beat. In the end mark it as released; the token stays for drivers that compare it."""
    lease, ended = json.loads(text), False
    pause_s = beat_s
    while not ended:
        ended = stop.wait(pause_s)
        pause_s = beat_s / 5  # if this beat fails, the next one comes soon
        lease |= {"released": True} if ended else {"beat": lease["beat"] + 1}
        try:
            lease["locked"] = lock.take()
            stored = _read(row)
            fence.check(json.loads(stored) or {})
            row.replace(stored, json.dumps(lease))
            pause_s = beat_s
        except SQLAlchemyError:  # an unreachable database is reported by the code that needs it
            continue
        except LostSearchError:
            return
