"""A journal file for a study that survives a killed driver, a full disk and a power failure."""

from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock


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
    """A journal without partial lines: a line appended to a partial one would make both unreadable."""

    def __init__(self, file: Path):
        self._file, self._guard = file, _KernelLock(file.with_name(f"{file.name}.lock"))
        if file.exists():
            self._guard.acquire()
            try:
                self._drop_partial_line()  # left by a power failure
            finally:
                self._guard.release()
        super().__init__(str(file), lock_obj=self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all logs, or none if the disk is full."""
        self._guard.acquire()  # reentrant: Optuna acquires it again
        try:
            super().append_logs(logs)
        except OSError:
            self._drop_partial_line()
            raise
        finally:
            self._guard.release()

    def _drop_partial_line(self) -> None:
        with self._file.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
