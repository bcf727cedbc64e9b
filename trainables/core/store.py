"""A folder of content-addressed entries on the node: written once, whole or absent, shared by every process."""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

STORE_VARIABLE = "TUNE_RUN_CACHE"


def default_store() -> Path:
    """``$TUNE_RUN_CACHE``, or ``tune-run`` under the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(STORE_VARIABLE) or Path(cache) / "tune-run").resolve()


class Store:
    """Entries are folders named by a key of all they depend on.

    An entry appears by an atomic rename, so a reader sees all of it or nothing; a lock makes racing processes write it
    once. A writer that was killed leaves a hidden folder behind, which the next writer of that key removes.
    """

    def __init__(self, root: Path):
        self.root = root

    def entry(self, key: str, write: Callable[[Path], None]) -> Path:
        """Returns the entry's folder, after writing it where it is absent.

        Args:
            key: A file-system-safe name that stands for the content.
            write: Fills an empty folder; what it raises is passed on and nothing is left behind.
        """
        path = self.root / key
        if path.is_dir():
            return path
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f".{key}.lock"):
            if path.is_dir():
                return path
            for leftover in self.root.glob(f".{key}.*.partial"):
                shutil.rmtree(leftover)
            partial = self.root / f".{key}.{uuid.uuid4().hex}.partial"  # not mkdtemp: others shall read the entry
            partial.mkdir()
            try:
                write(partial)
                partial.rename(path)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return path
