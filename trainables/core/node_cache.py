"""A bounded folder of content-addressed entries on the node: written once, whole or absent, shared by every process."""

import fcntl
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from trainables.core.errors import UserError

STORE_VARIABLE = "TUNE_RUN_CACHE"
SIZE_VARIABLE = "TUNE_RUN_CACHE_SIZE"
# Of the disk's whole size, where nobody sets the bound: room for many sets and prefixes, and most of the disk left.
DEFAULT_SHARE = 0.2
# In every entry: what else lies in the store's folder is not ours to evict.
_MARK = ".entry"
_PARTIAL = re.compile(r"\.(?P<key>.+)\.[0-9a-f]{32}\.(?P<size>\d+)\.partial")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

T = TypeVar("T")


class StoreFullError(UserError):
    """An entry does not fit under the store's bound beside what is in use."""


def default_store() -> Path:
    """``$TUNE_RUN_CACHE``, or ``tune-run`` under the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(STORE_VARIABLE) or Path(cache) / "tune-run").resolve()


def parse_size(text: str) -> int:
    """Bytes from ``20GB``, ``1.5T``, ``800 MB`` or ``4096`` (powers of 1000).

    Raises:
        UserError: It is no size above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise UserError(f"a cache size must be a number above 0 with K, M, G or T behind it, but got {text!r}")
    return size


def map_array(file: Path) -> NDArray[Any]:
    """Maps an entry's ``.npy`` file, read-only; as long as it is mapped, its entry is in use and not evicted."""
    array = np.load(file, mmap_mode="r")
    folder = os.open(file.parent, os.O_RDONLY)
    weakref.finalize(array.base, os.close, folder)  # the base, because a view of the array may outlive it
    fcntl.flock(folder, fcntl.LOCK_SH)
    return np.asarray(array)


def write_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]) -> None:
    """Writes a ``.npy`` file part by part: through a memmap, a full disk would end the process by a bus error.

    Args:
        file: To be created.
        shape: Of the whole array.
        dtype: Of the whole array.
        parts: Arrays in C order whose bytes, one after another, are the whole.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        for part in parts:
            opened.write(np.ascontiguousarray(part).data)


class Store:
    """Entries are folders named by a key of all they depend on.

    An entry appears by an atomic rename, so a reader sees all of it or nothing; a lock for each key makes racing
    processes write it once. Together they stay under a bound: those not used for longest make room, but none that a
    process has mapped. Writers that were killed leave hidden folders behind, which the next writer removes.

    Args:
        root: The folder; created when the first entry is written.
        limit: Bytes of all entries; None for ``$TUNE_RUN_CACHE_SIZE``, or a fifth of the disk.
    """

    def __init__(self, root: Path, limit: int | None = None):
        self.root = root
        self._limit = limit

    @property
    def limit(self) -> int:
        """Bytes that all entries may take together."""
        if self._limit is not None:
            return self._limit
        stated = os.environ.get(SIZE_VARIABLE)
        return parse_size(stated) if stated else int(shutil.disk_usage(self.root).total * DEFAULT_SHARE)

    def find(self, key: str, read: Callable[[Path], T]) -> T | None:
        """What ``read`` gives for an entry, or None where it is absent or torn; counts as a use."""
        path = self.root / key
        try:
            with suppress(OSError):  # another user's store, or none of the kind
                os.utime(path)
            return read(path)
        except (FileNotFoundError, ValueError, EOFError):  # evicted at this moment; or a file was cut short
            return None

    def read(
        self, key: str, write: Callable[[Path], None], read: Callable[[Path], T], size: int, *, needed: bool = False
    ) -> T:
        """What ``read`` gives for an entry, which is written first where it is absent.

        Args:
            key: A file-system-safe name that stands for the content.
            write: Fills an empty folder; what it raises is passed on and nothing is left behind.
            read: Opens a folder that ``write`` filled; raises FileNotFoundError or ValueError where a file is not
                whole. It gets the folder under a passing name: it opens what it needs and keeps no path.
            size: Bytes that ``write`` needs.
            needed: Go beyond the bound rather than raise, where the entry would fit but for what is in use.

        Raises:
            StoreFullError: The entry does not fit under the bound.
            OSError: The disk is full, or the folder cannot be written.
        """
        found = self.find(key, read)
        if found is not None:
            return found
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock_of(key)):
            found = self.find(key, read)
            if found is not None:
                return found
            # The size in the name reserves the bytes. Not mkdtemp: other users shall read the entry.
            partial = self.root / f".{key}.{uuid.uuid4().hex}.{size}.partial"
            with self._alone():
                _remove(self.root / key)  # torn
                for leftover in self.root.glob(f".{key}.*.partial"):
                    shutil.rmtree(leftover)
                self._make_room(size, needed)
                partial.mkdir()
            return self._write(key, partial, write, read)

    def _write(self, key: str, partial: Path, write: Callable[[Path], None], read: Callable[[Path], T]) -> T:
        try:
            (partial / _MARK).touch()
            write(partial)
            value = read(partial)  # before others can see it: what is mapped here is not evicted
            with self._alone():
                partial.rename(self.root / key)
            return value
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _make_room(self, size: int, needed: bool) -> None:
        """Evicts, least recently used first, until ``size`` bytes fit; evicts nothing where that would not do."""
        sizes = {mark.parent: _size(mark.parent) for mark in self.root.glob(f"[!.]*/{_MARK}")}
        used = sum(sizes.values()) + self._reserved()
        limit = min(self.limit, used + shutil.disk_usage(self.root).free)
        with ExitStack() as claims:
            claimed = []
            for path in sorted(sizes, key=lambda path: path.stat().st_mtime_ns):
                if used + size <= limit:
                    break
                if _claim(path, claims):
                    claimed.append(path)
                    used -= sizes[path]
            if used + size > limit and not (needed and size <= self.limit):
                raise StoreFullError(
                    f"{self.root} may hold {limit / 1e9:.3g} GB, too little for {size / 1e9:.3g} GB beside what is in "
                    f"use: free disk space or raise the cache size (--cache-size, or {SIZE_VARIABLE})"
                )
            for path in claimed:
                _remove(path)

    def _reserved(self) -> int:
        """Bytes of entries that are being written, after removing what killed processes left."""
        for leftover in self.root.glob(".*.evicted"):
            shutil.rmtree(leftover, ignore_errors=True)
        reserved = 0
        for partial in self.root.glob(".*.partial"):
            if not (named := _PARTIAL.fullmatch(partial.name)):
                continue
            try:
                with FileLock(self._lock_of(named["key"]), blocking=False):
                    shutil.rmtree(partial, ignore_errors=True)
            except Timeout:  # its writer is alive
                reserved += int(named["size"])
        return reserved

    def _lock_of(self, key: str) -> Path:
        return self.root / f".{key}.lock"

    def _alone(self) -> FileLock:
        """What is held, for moments, while entries come and go; always taken after the lock of a key."""
        return FileLock(self.root / ".store.lock")


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


def _claim(entry: Path, claims: ExitStack) -> bool:
    """Locks an entry that nobody has mapped, until ``claims`` ends."""
    folder = os.open(entry, os.O_RDONLY)
    claims.callback(os.close, folder)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(entry: Path) -> None:
    """Takes an entry out of sight at once, then away; who has it open reads on."""
    hidden = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}.evicted")
    with suppress(FileNotFoundError):
        entry.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
