"""Data sets in an object store, copied to the node's cache once per version."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from trainables.core.errors import DataError, first_line
from trainables.core.node_cache import Store
from trainables.core.redact import has_credentials

_DATA = "data"


def local_copy(uri: str, store: Store) -> Path:
    """Return the cache folder with a copy of ``s3://...``, ``gs://...`` or another URI that Arrow reads.

    The copy is not evicted while this process lives.

    Raises:
        DataError: Nothing can be read there, or the URI contains credentials, which would be shown and logged.
        StoreFullError: The data exceed the cache's limit.
    """
    with _readable(uri):
        files, path = FileSystem.from_uri(uri)
        listed = _listed(files, path)
    if not listed:
        raise DataError(f"{uri} has no images: expected class folders or parquet files in the hub's layout")
    if any(".." in info.path.split("/") for info in listed):  # they would be written outside the cache
        raise DataError(f"file names must not lead out of their folder, but one in {uri} does")
    listing = json.dumps([uri, *((info.path, info.size, info.mtime_ns) for info in listed)])
    key = f"copy-{hashlib.sha256(listing.encode()).hexdigest()[:32]}"

    def write(folder: Path) -> None:
        copy_files(path, str(folder / _DATA), files, LocalFileSystem())

    store.read(key, write, _hold, sum(info.size for info in listed), needed=True)
    return store.root / key / _DATA


def check_uri(uri: str) -> None:
    """Raise DataError if there is nothing at a URI, without listing what is there."""
    with _readable(uri):
        files, path = FileSystem.from_uri(uri)
        if files.get_file_info(path).type == FileType.NotFound:
            raise FileNotFoundError("it does not exist")


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    if has_credentials(uri):
        raise DataError(
            "the address of a data set must not contain credentials: set them in the environment, such as "
            "AWS_ACCESS_KEY_ID"
        )
    # Arrow would leave out the rest, and read another folder.
    cut = next((sign for sign in ("#?" if uri.startswith("file:") else "#") if sign in uri), "")
    if cut:
        raise DataError(f"the address of a data set must not contain {cut}, but is {uri}: write {quote(cut)} instead")
    try:
        yield
    except (OSError, ValueError) as error:
        is_syntax = "Cannot parse URI" in str(error)
        remedy = (
            f": write signs other than letters and digits in hexadecimal, such as {quote(' ')} for a blank"
            if is_syntax
            else ""
        )
        raise DataError(f"the data set must be readable, but {uri} is not: {first_line(error)}{remedy}") from error


def _listed(files: FileSystem, path: str) -> list[FileInfo]:
    found = files.get_file_info(FileSelector(path, recursive=True))
    return sorted((info for info in found if info.type == FileType.File), key=lambda info: info.path)


def _hold(entry: Path) -> None:
    """Lock an entry until this process ends, since images are read at any time."""
    if not (entry / _DATA).is_dir():
        raise FileNotFoundError(entry / _DATA)
    fcntl.flock(os.open(entry, os.O_RDONLY), fcntl.LOCK_SH)
