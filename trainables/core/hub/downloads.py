"""Files from the hub or from torchvision's server, in the caches of their own libraries.

What is in a cache is not asked for again, except for the newest version of a data set. No request waits longer than
``TIMEOUT_S`` for an answer, and only one process of a node asks at a time. Cached files are compared with the digest in
their names, because neither library does so after the download.
"""

import hashlib
import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from trainables.core.atomic_write import atomic_file
from trainables.core.hub.failures import TIMEOUT_S, ForeignAnswerError, HubError, TruncatedError, explain
from trainables.core.node_cache import default_store

_DATA_FILES = ["README.md", "dataset_infos.json", "*.parquet"]


def dataset_snapshot(name: str, revision: str | None = None) -> Path:
    """Return the folder of a hub data set's parquet files; the folder's name is the revision.

    The hub is asked once for the newest version; if it does not answer, the last complete one in the cache is used. A
    given revision that is in the cache needs no request.

    Args:
        name: Name of the data set, ``owner/name``.
        revision: Commit hash; None for the newest version.

    Raises:
        HubError: There is no complete version, or a file is damaged.
    """
    from huggingface_hub import HfApi, constants, get_session, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(commit: str | None, *, local: bool) -> Path:
        folder = snapshot_download(
            name, repo_type="dataset", revision=commit, allow_patterns=_DATA_FILES, local_files_only=local
        )
        return Path(folder)

    _configure_client()
    with _node_lock(f"datasets/{name}"):
        folder = None
        try:
            with suppress(LocalEntryNotFoundError):
                folder = snapshot(revision, local=True)
            if folder is None or revision is None:
                commit = revision or HfApi().dataset_info(name, timeout=TIMEOUT_S).sha
                _limit_waits(get_session())
                folder = snapshot(commit, local=False)
                if revision is None:
                    _mark_newest(folder)
        except Exception as error:  # the hub's client raises its own types, httpx's and OSError
            if folder is None:
                raise HubError(
                    explain(error, f"data set {name}" + (f"@{revision}" if revision else ""), constants.ENDPOINT)
                ) from error
    for file in sorted(folder.rglob("*.parquet")):
        check_digest(file)
    return folder


_asked: dict[str, float] = {}  # time of each request without an answer so far
_attempts = Counter[str]()
# The hub's client asks again for ever if an answer breaks off and the server cannot send the rest alone.
_MOST_ATTEMPTS = 20


def _limit_waits(client: Any) -> None:
    """Limit the waits and repetitions of the client, which repeats questions without an answer for minutes."""
    _asked.clear()
    _attempts.clear()
    for event, hook in (("request", _limit_wait), ("response", _note_answer)):
        hooks = client.event_hooks[event]
        hooks.extend([] if hook in hooks else [hook])


def _limit_wait(request: Any) -> None:
    """Limit the wait for an answer.

    Raises:
        TimeoutError: The same request had no answer in the time allowed.
        TruncatedError: The answer broke off too often.
    """
    now, url = time.monotonic(), str(request.url)
    _attempts[url] += 1
    if _attempts[url] > _MOST_ATTEMPTS:
        raise TruncatedError(f"{url} broke off {_MOST_ATTEMPTS} times")
    if now - _asked.setdefault(url, now) >= TIMEOUT_S:
        raise TimeoutError(f"no answer from {url}")
    waits = request.extensions["timeout"]
    request.extensions["timeout"] = {kind: TIMEOUT_S if wait is None else wait for kind, wait in waits.items()}


def _note_answer(response: Any) -> None:
    _asked.pop(str(response.request.url), None)


def _mark_newest(snapshot: Path) -> None:
    """Name a complete snapshot as the newest, in the cache's documented layout; a download by commit does not."""
    reference = snapshot.parents[1] / "refs" / "main"
    with suppress(OSError):  # a read-only cache
        if not reference.is_file() or reference.read_text() != snapshot.name:
            reference.parent.mkdir(exist_ok=True)
            with atomic_file(reference) as partial:
                partial.write_text(snapshot.name)


def model_file(repository: str, names: Sequence[str] = ("model.safetensors",)) -> Path:
    """Return the first of these files that a repository has, from the hub's cache or else the hub.

    Raises:
        HubError: Neither has one, or the cached file is damaged.
    """
    from huggingface_hub import (
        constants,
        get_hf_file_metadata,
        get_session,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError

    def find() -> Path | None:
        found = (try_to_load_from_cache(repository, name) for name in names)
        return next((Path(file) for file in found if isinstance(file, str)), None)

    def fetch() -> Path:
        _configure_client()
        _limit_waits(get_session())
        missing: Exception | None = None
        for name in names:
            try:
                # One request with a time-out comes first: the download itself retries for 46 s (version 2.4).
                get_hf_file_metadata(hf_hub_url(repository, name), timeout=TIMEOUT_S)
                return Path(hf_hub_download(repository, name, etag_timeout=TIMEOUT_S))
            except EntryNotFoundError as error:
                missing = error
        raise missing or FileNotFoundError(names)

    return _cached_or_fetched(repository, find, fetch, constants.ENDPOINT)


def url_file(url: str) -> Path:
    """Return a file of a server in torch's cache, downloaded first if it is absent.

    ``torch.hub`` downloads without a time-out.

    Raises:
        HubError: It cannot be downloaded, or its digest is not the one in its name.
    """
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name

    def fetch() -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as partial, urlopen(url, timeout=TIMEOUT_S) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise ForeignAnswerError(answer.url)
            with partial.open("wb") as opened:
                shutil.copyfileobj(answer, opened)
            if not _has_named_digest(partial, file.name):
                raise TruncatedError(f"{partial.stat().st_size} bytes, announced {answer.headers['Content-Length']}")
        return file

    address = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    return _cached_or_fetched(file.name, lambda: file if file.is_file() else None, fetch, address)


def _cached_or_fetched(wanted: str, find: Callable[[], Path | None], fetch: Callable[[], Path], server: str) -> Path:
    found = find()
    if found is None:
        with _node_lock(wanted):
            found = find()  # another process may have fetched it meanwhile
            if found is None:
                try:
                    found = fetch()
                except Exception as error:  # as in ``dataset_snapshot``
                    raise HubError(explain(error, wanted, server)) from error
    check_digest(found)
    return found


def check_digest(file: Path) -> None:
    """Compare a cached file with the SHA-256 in its name; a file without one passes.

    The hub's cache links to a blob named by its digest. torchvision's names end with the first digits.

    Raises:
        HubError: The file is damaged.
    """
    blob = Path(os.path.normpath(file.parent / file.readlink())) if file.is_symlink() else file
    if not _has_named_digest(file, blob.name):
        raise HubError(f"{blob} is damaged, as its SHA-256 differs from its name: delete it and run again")


def _has_named_digest(file: Path, name: str) -> bool:
    named = re.fullmatch(r"([0-9a-f]{64})|.*-([0-9a-f]{8,64})\.\w+", name)
    stat = file.stat()
    return named is None or _digest(file, stat.st_size, stat.st_mtime_ns).startswith(named[1] or named[2])


@cache
def _digest(file: Path, size: int, changed: int) -> str:  # noqa: ARG001
    """Return the SHA-256 of a file, read once per process as long as it does not change."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _node_lock(wanted: str) -> FileLock:
    """Return the lock that lets one process of this node download at a time."""
    store = default_store()
    store.mkdir(parents=True, exist_ok=True)
    return FileLock(store / f".hub-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.lock")


@cache
def _configure_client() -> None:
    """Turn off progress bars and warnings, which would tear the console's live lines, and telemetry.

    With telemetry, the client sends a further request. It reads the variable when it is imported.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if "HF_HUB_DISABLE_TELEMETRY" not in os.environ:
        constants.HF_HUB_DISABLE_TELEMETRY = True
