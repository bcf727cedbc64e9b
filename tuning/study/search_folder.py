"""The folder and the name of a search: finding them, checking them, and admitting one driver at a time."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import optuna
from filelock import FileLock, Timeout

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from trainables.core.plural import plural
from trainables.core.redact import has_credentials, without_credentials
from tuning.console import EXIT_FAILED
from tuning.study.attributes import is_finished, searched_space
from tuning.study.storage.driver_lease import leased
from tuning.study.storage.journal import journal_held
from tuning.study.storage.open_study import JOURNAL, open_study, study_storage
from tuning.study.storage.single_writer_storage import become_single_writer
from tuning.study.successive_halving import REDUCTION

_SCHEMES = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss", "file")  # the file systems that pyarrow supports
_MOST_FOUND = 5
_CHECKPOINTS_PER_TRIAL = 3  # the best, the last, and the one being written


class NoSearchError(UserError):
    """There is no search of that name."""


@dataclass(frozen=True)
class SearchFolder:
    """Location of a search. Nothing is created before ``open`` or ``exclusive``.

    Attributes:
        name: Name of the search, its study and its parent run.
        checkpoints: Path or URI to which workers write.
        local: The driver's own folder.
        study_url: URL of a database; None for a journal in ``local``.
    """

    name: str
    checkpoints: str
    local: Path
    study_url: str | None

    @property
    def root(self) -> str:
        """Path or URI of the folder that holds all searches."""
        return self.checkpoints.rpartition("/")[0]

    @property
    def fixed_root(self) -> str | None:
        """``root`` if a resumed search must keep it. None for a journal, which moves together with the checkpoints."""
        return None if self.study_url is None else self.root

    def storage(self) -> optuna.storages.BaseStorage:
        """Return the study's storage."""
        return study_storage(self.local, self.study_url)

    def load(self) -> optuna.Study | None:
        """Return the study, or None if it does not exist."""
        if self.study_url is None and not (self.local / JOURNAL).exists():
            return None
        try:
            return optuna.load_study(study_name=self.name, storage=self.storage())
        except KeyError:
            return None
        except OSError as error:
            raise UserError(f"a search must be readable, but {self.local} is not: {error.strerror}") from error

    def check_disk_space(self, checkpoint_bytes: int, num_samples: int) -> str | None:
        """Return a note if the disk may fill up before all trials have ended.

        Raises:
            UserError: The disk is not writable, or has no room for a single trial.
        """
        existing = next(folder for folder in (self.local, *self.local.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            raise UserError(f"--storage must be writable, but {existing} is not")
        if self.checkpoints != str(self.local):  # a bucket has no size limit
            return None
        free = shutil.disk_usage(existing).free
        if free < _CHECKPOINTS_PER_TRIAL * checkpoint_bytes:
            raise UserError(
                f"--storage must have room for the checkpoints of a trial, {_CHECKPOINTS_PER_TRIAL} x "
                f"{_size(checkpoint_bytes)}, but {existing} has {_size(free)} left: free some space, or choose another "
                "--storage"
            )
        # A trial that pauses and continues keeps the checkpoints of each part: half of the trials, then half of those.
        parts = num_samples + num_samples // REDUCTION + num_samples // REDUCTION**2
        needed = (parts * (_CHECKPOINTS_PER_TRIAL - 1) + 1) * checkpoint_bytes
        if free >= needed:
            return None
        return f"{existing} has {_size(free)} left, but {plural(num_samples, 'trial')} may need {_size(needed)}"

    @contextmanager
    def open(
        self, objective: Objective, epochs: int, seed: int, pruning: bool = True, *, new: bool = False
    ) -> Iterator[optuna.Study]:
        """Open or create the study and hold it exclusively.

        Raises:
            UserError: Another driver holds the search, or has created the search that should be ``new``, or the folder
                is not writable.
        """
        with self._file_lock():
            if new and self.load() is not None:
                raise UserError(
                    f"a new search needs an unused name, but another driver has just created {self.name!r}: choose "
                    "another --name"
                )
            study = open_study(self.storage(), self.name, objective, epochs, seed, pruning)
            with self._lease(study):
                yield study

    @contextmanager
    def exclusive(self, study: optuna.Study) -> Iterator[None]:
        """Hold a loaded study exclusively.

        Raises:
            UserError: Another driver holds the search, or the folder is not writable.
        """
        with self._file_lock(), self._lease(study):
            yield

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        """Exclude other drivers on this host."""
        lock = FileLock(self.local / "driver.lock")
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"a search can have one driver at a time, but another one is running {self.local}: wait for it to end, "
                "or choose another --name"
            ) from error
        except OSError as error:
            raise _not_writable(self.local, error) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _lease(self, study: optuna.Study) -> Iterator[None]:
        """Exclude drivers on other hosts, and end this one if another takes over because it did not respond."""
        lease = journal_held if self.study_url is None else leased
        with lease(study, partial(_exit_immediately, self.name)):
            become_single_writer(study)
            yield


def find_folder(root: str, name: str, study_url: str | None, resume: bool, exact: bool = False) -> SearchFolder:
    """Return the folder of a new search, or that of an existing one to resume.

    Args:
        root: Folder, or URI, of all searches.
        name: Name of the space, whose searches are called NAME, NAME-2, and so on; of the search if it is ``exact``.
        study_url: Database of the study; None for a journal file.
        resume: Return an existing search: the latest one of the space.
        exact: The user gave the name, so it means one search.

    Raises:
        UserError: There is nothing to resume, a search of the space is unfinished, or any search has the exact name.
    """
    if resume:
        return (existing_folder if exact else latest_folder)(root, name, study_url)[0]
    _check_name(name)
    if exact:
        folder = _folder(root, name, study_url)
        if folder.load() is not None:
            raise UserError(
                f"a search named {name!r} exists in {_place(root, study_url)}: continue it with --resume, or choose "
                "another --name"
            )
        return folder
    searches, unused = _numbered_folders(root, name, study_url)
    for folder, study in searches:
        if not is_finished(study):
            raise UserError(
                f"search {folder.name!r} in {_place(root, study_url)} is unfinished: continue it with --resume --name "
                f"{folder.name}, or choose another --name"
            )
    return unused


def latest_folder(root: str, space: str, study_url: str | None) -> tuple[SearchFolder, optuna.Study]:
    """Return the folder and the study of the latest search of a space that is called SPACE, or SPACE-2, and so on.

    Raises:
        NoSearchError: There is none.
    """
    _check_name(space)
    searches, _ = _numbered_folders(root, space, study_url)
    if not searches:
        raise NoSearchError(
            f"--resume needs a search, but {_place(root, study_url)} has none of {space!r}: omit --resume to start "
            "one, or give its --name"
        )
    return searches[-1]


def existing_folder(root: str, name: str, study_url: str | None) -> tuple[SearchFolder, optuna.Study]:
    """Return the folder and the study of the search with exactly that name.

    Raises:
        NoSearchError: There is no such search.
    """
    _check_name(name)
    folder = _folder(root, name, study_url)
    study = folder.load()
    if study is None:
        option = "--storage" if study_url is None else "--study-storage"
        raise NoSearchError(
            f"no search in {_place(root, study_url)} is called {name!r}{_found(folder)}: pass another name, or {option}"
        )
    return folder, study


def _place(root: str, study_url: str | None) -> str:
    """Return where studies are. The address of a database is not shown: it may hold a password."""
    return root if study_url is None else "the database of --study-storage"


def _names_beside(folder: SearchFolder) -> list[str]:
    """Return the names of all searches where the study of this one is, in alphabetical order."""
    if folder.study_url is None:
        return sorted(file.parent.name for file in folder.local.parent.glob(f"*/{JOURNAL}"))
    return sorted(optuna.get_all_study_names(folder.storage()))


def _found(folder: SearchFolder) -> str:
    """Return the names of the searches beside a missing one, for its error message."""
    names = _names_beside(folder)
    more = f" and {len(names) - _MOST_FOUND} more" if len(names) > _MOST_FOUND else ""
    return f" (found: {', '.join(names[:_MOST_FOUND])}{more})" if names else ""


def _numbered_folders(
    root: str, space: str, study_url: str | None
) -> tuple[list[tuple[SearchFolder, optuna.Study]], SearchFolder]:
    """Return the searches of a space that are called SPACE, SPACE-2, and so on, and the folder of the next one.

    Searches in between may have been deleted. Those of other spaces have got such a name by ``--name``.
    """
    first = _folder(root, space, study_url)
    # A longer number is no count but, for example, the date in a name that the user gave.
    numbered = re.compile(rf"{re.escape(space)}(?:-([2-9]|[1-9]\d{{1,2}}))?")
    matches = filter(None, map(numbered.fullmatch, _names_beside(first)))
    folders = {int(match[1] or 1): _folder(root, match[0], study_url) for match in matches}
    studies = {number: study for number, folder in sorted(folders.items()) if (study := folder.load()) is not None}
    own = [number for number, study in studies.items() if searched_space(study) in (space, None)]
    following = max(own, default=0) + 1
    while following in studies:
        following += 1
    unused = first if following == 1 else _folder(root, f"{space}-{following}", study_url)
    return [(folders[number], studies[number]) for number in own], unused


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w\-.]{0,199}", name):  # a folder's name has at most 255 bytes
        raise UserError(f"--name must be letters, digits, _, - and . only, at most 200, but got {name[:200]!r}")


def _folder(root: str, name: str, study_url: str | None) -> SearchFolder:
    check_address("--storage", root)
    remote = "://" in root
    if remote and root.partition("://")[0] not in _SCHEMES:
        raise UserError(f"--storage must be a folder, or a URI of {', '.join(_SCHEMES)}, but got {root}")
    if remote and study_url is None:
        raise UserError(f"a study cannot be stored on {root}: give --study-storage, a database that the driver reaches")
    local = Path.home() / ".tune-run" / name if remote else Path(root).resolve() / name
    return SearchFolder(name, f"{root.rstrip('/')}/{name}" if remote else str(local), local, study_url)


def check_address(option: str, address: str) -> None:
    """Raise UserError if an address contains credentials: it is stored with every checkpoint and in every log."""
    if has_credentials(address):
        raise UserError(
            f"{option} must hold no credentials, but {without_credentials(address)} did: give each node a role, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment in which Ray is started"
        )


def _not_writable(folder: Path, error: OSError) -> UserError:
    return UserError(f"--storage must be writable, but {folder} is not: {error.strerror}")


def _exit_immediately(name: str, lease: Mapping[str, Any]) -> NoReturn:
    """End this process without cleaning up, because the search now belongs to another driver."""
    line = (
        f"tune-run: process {lease.get('pid')} on {lease.get('host')} has taken over search {name!r}, because this "
        "driver did not respond for a while. This one has written nothing since, and ends"
    )
    os.write(sys.stderr.fileno(), f"{line}\n".encode())
    os._exit(EXIT_FAILED)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
