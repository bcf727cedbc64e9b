"""A size-limited, content-addressed cache on the node's disk, shared by all processes."""

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
# Default limit as a share of the disk: room for many data sets, and most of the disk stays free.
DEFAULT_SHARE = 0.2
# Every entry contains this file. Other files in the cache folder are never evicted.
_MARK = ".entry"
_PARTIAL = re.compile(r"\.(?P<key>.+)\.[0-9a-f]{32}\.(?P<size>\d+)\.partial")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

T = TypeVar("T")


class StoreFullError(UserError):
    """An entry does not fit under the cache's size limit next to the entries in use."""


def default_store() -> Path:
    """Return ``$TUNE_RUN_CACHE``, or ``tune-run`` in the user's cache folder.

    Raises:
        UserError: It does not exist and cannot be created.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    store = Path(os.environ.get(STORE_VARIABLE) or Path(cache) / "tune-run").resolve()
    existing = next(folder for folder in (store, *store.parents) if folder.exists())
    if store != existing and not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        rule = "the cache of decoded images must be a folder that can be created"
        raise UserError(f"{rule}, but {existing} does not allow {store}: set {STORE_VARIABLE} to a writable folder")
    return store


def parse_size(text: str) -> int:
    """Return the bytes of a size like ``20GB``, ``1.5T``, ``800 MB`` or ``4096`` (powers of 1000).

    Raises:
        UserError: The text is not a positive size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise UserError(f"a cache size must be a positive number with an optional K, M, G or T, but got {text!r}")
    return size


def map_array(file: Path) -> NDArray[Any]:
    """Map an entry's ``.npy`` file read-only. While it is mapped, its entry is in use and cannot be evicted."""
    array = np.load(file, mmap_mode="r")
    folder = os.open(file.parent, os.O_RDONLY)
    weakref.finalize(array.base, os.close, folder)  # the base, because a view of the array may outlive it
    fcntl.flock(folder, fcntl.LOCK_SH)
    return np.asarray(array)


def write_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]) -> None:
    """Write a ``.npy`` file part by part. A memmap would end the process with a bus error on a full disk.

    Args:
        file: File to create.
        shape: Shape of the whole array.
        dtype: Type of the whole array.
        parts: Arrays in C order whose concatenated bytes are the whole array.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        for part in parts:
            opened.write(np.ascontiguousarray(part).data)


class Store:
    """A cache whose entries are folders, each named by a key of everything it depends on.

    An entry appears by an atomic rename, so readers see all of it or nothing. One lock per key makes concurrent
    processes write it once. Entries together stay under a limit: the least recently used ones are evicted, except
    those that a process has mapped. Killed writers leave hidden folders, which the next writer removes.

    Args:
        root: Cache folder, created with the first entry.
        limit: Most bytes of all entries together. None uses ``$TUNE_RUN_CACHE_SIZE``, or a fifth of the disk.
    """

    def __init__(self, root: Path, limit: int | None = None):
        self.root = root
        self._limit = limit

    @property
    def limit(self) -> int:
        """Most bytes that all entries may take together."""
        if self._limit is not None:
            return self._limit
        stated = os.environ.get(SIZE_VARIABLE)
        return parse_size(stated) if stated else int(shutil.disk_usage(self.root).total * DEFAULT_SHARE)

    def find(self, key: str, read: Callable[[Path], T]) -> T | None:
        """Return ``read(folder)`` for an entry, or None if it is absent or torn. Counts as a use."""
        path = self.root / key
        try:
            with suppress(OSError):  # the entry is absent or belongs to another user
                os.utime(path)
            return read(path)
        except (FileNotFoundError, ValueError, EOFError):  # just evicted, or a file is truncated
            return None

    def read(
        self, key: str, write: Callable[[Path], None], read: Callable[[Path], T], size: int, *, needed: bool = False
    ) -> T:
        """Return ``read(folder)`` for an entry, writing the entry first if it is absent.

        Args:
            key: File-system-safe name that identifies the content.
            write: Fills an empty folder. If it raises, the error is passed on and nothing is left behind.
            read: Opens a folder that ``write`` filled. Raises FileNotFoundError or ValueError if a file is incomplete.
                The folder has a temporary name at that time: open its files and do not store its path.
            size: Bytes that ``write`` needs.
            needed: Exceed the limit rather than raise if only entries in use stand in the way.

        Raises:
            StoreFullError: The entry does not fit under the limit.
            OSError: The disk is full or the folder is not writable.
        """
        found = self.find(key, read)
        if found is not None:
            return found
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock_of(key)):
            found = self.find(key, read)
            if found is not None:
                return found
            # The size in the name reserves the bytes. mkdtemp would hide the entry from other users.
            partial = self.root / f".{key}.{uuid.uuid4().hex}.{size}.partial"
            with self._index_lock():
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
            value = read(partial)  # before others see it, so that it cannot be evicted in between
            with self._index_lock():
                partial.rename(self.root / key)
            return value
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _make_room(self, size: int, needed: bool) -> None:
        """Evict the least recently used entries until ``size`` bytes fit. Evict nothing if they cannot fit."""
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
                    f"the cache {self.root} is limited to {limit / 1e9:.3g} GB, too little for {size / 1e9:.3g} GB "
                    f"next to the entries in use: free disk space, or raise --cache-size or {SIZE_VARIABLE}"
                )
            for path in claimed:
                _remove(path)

    def _reserved(self) -> int:
        """Return the bytes of entries being written, after removing leftovers of killed processes."""
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

    def _index_lock(self) -> FileLock:
        """Return the lock held briefly while entries are added or removed. Always taken after the lock of a key."""
        return FileLock(self.root / ".store.lock")


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


def _claim(entry: Path, claims: ExitStack) -> bool:
    """Lock an entry that no process has mapped, until ``claims`` closes. Return False if it is mapped."""
    folder = os.open(entry, os.O_RDONLY)
    claims.callback(os.close, folder)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(entry: Path) -> None:
    """Hide an entry with one rename, then delete it. Processes that have it open can still read it."""
    hidden = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}.evicted")
    with suppress(FileNotFoundError):
        entry.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
