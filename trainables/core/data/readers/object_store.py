"""Data sets in an object store: copied to the node that asks, once for what is there now."""

import fcntl
import hashlib
import json
import os
from pathlib import Path

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from trainables.core.errors import DataError, first_line
from trainables.core.node_cache import Store
from trainables.core.redact import has_credentials

_DATA = "data"


def local_copy(uri: str, store: Store) -> Path:
    """The folder of the store that holds what is at ``s3://...``, ``gs://...`` or another URI of Arrow's.

    It is not evicted as long as this process lives.

    Raises:
        DataError: Nothing can be read there, or the URI carries credentials, which would be shown and logged.
        StoreFullError: It is more than the store may hold.
    """
    if has_credentials(uri):
        raise DataError("--data must not carry credentials: give them by the environment, as AWS_ACCESS_KEY_ID")
    try:
        files, path = FileSystem.from_uri(uri)
        there = _listed(files, path)
    except (OSError, ValueError) as error:
        raise DataError(f"--data must be readable, but {uri} is not: {first_line(error)}") from error
    if not there:
        raise DataError(f"{uri} has no images: class folders or hub-layout parquet files are expected there")
    if any(".." in info.path.split("/") for info in there):  # they would be written elsewhere
        raise DataError(f"names of files must not lead out of their folder, but one in {uri} does")
    listing = json.dumps([uri, *((info.path, info.size, info.mtime_ns) for info in there)])
    key = f"copy-{hashlib.sha256(listing.encode()).hexdigest()[:32]}"

    def write(folder: Path) -> None:
        copy_files(path, str(folder / _DATA), files, LocalFileSystem())

    store.read(key, write, _hold, sum(info.size for info in there), needed=True)
    return store.root / key / _DATA


def _listed(files: FileSystem, path: str) -> list[FileInfo]:
    found = files.get_file_info(FileSelector(path, recursive=True))
    return sorted((info for info in found if info.type == FileType.File), key=lambda info: info.path)


def _hold(entry: Path) -> None:
    """Marks an entry as in use until this process ends: the images are read whenever somebody looks at them."""
    if not (entry / _DATA).is_dir():
        raise FileNotFoundError(entry / _DATA)
    fcntl.flock(os.open(entry, os.O_RDONLY), fcntl.LOCK_SH)
