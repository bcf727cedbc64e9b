"""A journal file for a study that survives a killed driver, a full disk and a power failure."""

import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from trainables.core.atomic_write import atomic_file
from tuning.study.storage.fence import Fence, Fenced, OnLost
from tuning.study.storage.optuna_internals import storage_of

_HOLDER = "driver.json"


class _KernelLock(JournalFileOpenLock):
    """A lock that the kernel releases when its holder dies; Optuna's lock files outlive a killed driver."""

    def __init__(self, path: Path):
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class Journal(JournalFileBackend):
    """A journal that drops a partial last line before it appends to it, or both lines would be unreadable.

    Optuna skips a partial last line when it reads, so that reading needs no right to write.

    Attributes:
        fence: Called before each write, under the journal's lock; None if this process holds no search.
    """

    def __init__(self, file: Path):
        self.fence: Callable[[], None] | None = None
        self._file, self._guard = file, _KernelLock(file.with_name(f"{file.name}.lock"))
        super().__init__(str(file), lock_obj=self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all logs, or none if the disk is full."""
        self._guard.acquire()  # reentrant: Optuna acquires it again
        try:
            if self.fence is not None:
                self.fence()
            self._drop_partial_line()  # left by a power failure
            super().append_logs(logs)
        except OSError:
            self._drop_partial_line()
            raise
        finally:
            self._guard.release()

    @contextmanager
    def held(self, on_lost: OnLost) -> Iterator[Callable[[], None]]:
        """Make this process the only one that can write, and yield the check that it still is.

        ``driver.lock`` admits one driver, but a shared file system may give the lock of a silent host to another one.
        Therefore each write compares the holder, which changes under the journal's lock only.
        """
        file, token = self._file.with_name(_HOLDER), uuid.uuid4().hex
        fence = Fence(token, on_lost)
        self._guard.acquire()
        try:
            with atomic_file(file) as partial:
                partial.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token}))
        finally:
            self._guard.release()
        self.fence = lambda: fence.check(json.loads(file.read_text()))
        try:
            yield self.fence
        finally:
            self.fence = None

    def _drop_partial_line(self) -> None:
        with self._file.open("r+b") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(length - 1, 0))
            if file.read() not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


class StudyJournal(JournalStorage, Fenced):
    """Storage of a study in a journal file."""

    def __init__(self, file: Path):
        self.journal = Journal(file)
        super().__init__(self.journal)


@contextmanager
def journal_held(study: optuna.Study, on_lost: OnLost) -> Iterator[None]:
    """Hold a study in a journal for this driver, which has the lock file of its folder.

    Args:
        study: Study in a ``StudyJournal``.
        on_lost: Called, from the thread that writes, if another driver has taken the study over.
    """
    storage = storage_of(study)
    assert isinstance(storage, StudyJournal)
    with storage.journal.held(on_lost) as storage.fence:
        try:
            yield
        finally:
            storage.fence = None
