"""Files and folders that appear whole or not at all, whenever the process is killed."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_path(path: Path) -> Path:
    """Return a hidden path beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to. It replaces ``file`` at the end, and is removed if the block raises."""
    partial = partial_path(file)
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to fill. It is renamed to ``folder`` at the end, and is removed if the block raises.

    Raises:
        OSError: ``folder`` exists and is not empty.
    """
    partial = partial_path(folder)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
