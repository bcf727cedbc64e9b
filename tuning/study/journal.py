"""A study's journal file that survives a killed driver, a full disk and a power failure."""

from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock


class _KernelLock(BaseJournalFileLock):
    """A lock that the kernel frees when its holder dies; Optuna's own are files that outlive a killed driver."""

    def __init__(self, path: Path):
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class Journal(JournalFileBackend):
    """A journal without half-written lines: to append to one would lose both."""

    def __init__(self, file: Path):
        self._file, self._guard = file, _KernelLock(file.with_name(f"{file.name}.lock"))
        if file.exists():
            self._guard.acquire()
            try:
                self._mend()  # a power failure may have torn it
            finally:
                self._guard.release()
        super().__init__(str(file), lock_obj=self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all of it, or nothing where the disk is full."""
        self._guard.acquire()  # a thread takes it twice without waiting for itself
        try:
            super().append_logs(logs)
        except OSError:
            self._mend()
            raise
        finally:
            self._guard.release()

    def _mend(self) -> None:
        with self._file.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
