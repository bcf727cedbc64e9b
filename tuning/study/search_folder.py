"""A search's folder and its name: which one a command means, and that one driver alone works in it."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock, Timeout

from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from trainables.core.redact import has_credentials, without_credentials
from tuning.study.attributes import is_finished
from tuning.study.driver_lease import leased
from tuning.study.open_study import JOURNAL, open_study, study_storage
from tuning.study.single_writer_storage import take

_SCHEMES = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss", "file")  # of pyarrow's file systems
_KEPT_AND_WRITTEN = 3  # a trial's best and last checkpoint, and the one being written


@dataclass(frozen=True)
class SearchFolder:
    """Where a search lives; nothing is created before ``take``.

    Attributes:
        name: The search's name, which its study and its parent run carry.
        checkpoints: Path or URI for what workers write.
        local: The driver's own folder.
        study_url: A database, or None for a journal in ``local``.
    """

    name: str
    checkpoints: str
    local: Path
    study_url: str | None

    @property
    def root(self) -> str:
        """Path or URI of the folder of searches."""
        return self.checkpoints.rpartition("/")[0]

    def storage(self) -> optuna.storages.BaseStorage:
        """The study's storage."""
        return study_storage(self.local, self.study_url)

    def load(self) -> optuna.Study | None:
        """The study, if there is one."""
        if self.study_url is None and not (self.local / JOURNAL).exists():
            return None
        try:
            return optuna.load_study(study_name=self.name, storage=self.storage())
        except KeyError:
            return None
        except OSError as error:
            raise UserError(f"--storage must be writable, but {self.local} is not: {error.strerror}") from error

    def check_room(self, checkpoint_bytes: int, num_samples: int) -> str | None:
        """Returns a note where the disk may become full before so many trials have ended.

        Raises:
            UserError: The disk cannot be written, or has no room for a single trial.
        """
        there = next(folder for folder in (self.local, *self.local.parents) if folder.exists())
        if not os.access(there, os.W_OK):
            raise UserError(f"--storage must be writable, but {there} is not")
        if self.checkpoints != str(self.local):  # a bucket has no end
            return None
        free = shutil.disk_usage(there).free
        if free < _KEPT_AND_WRITTEN * checkpoint_bytes:
            raise UserError(
                f"--storage must have room for a trial's checkpoints, {_KEPT_AND_WRITTEN} x {_size(checkpoint_bytes)}, "
                f"but {there} has {_size(free)} left: free some, or give another --storage"
            )
        needed = (num_samples * (_KEPT_AND_WRITTEN - 1) + 1) * checkpoint_bytes
        if free >= needed:
            return None
        return f"{there} has {_size(free)} left, but {num_samples} trials may need {_size(needed)}"

    @contextmanager
    def take(self, objective: Objective, epochs: int, seed: int, pruning: bool = True) -> Iterator[optuna.Study]:
        """Makes this driver the only one on the search, and opens or creates its study.

        Raises:
            UserError: Another one is, or the folder cannot be written.
        """
        with self._alone(lambda: open_study(self.storage(), self.name, objective, epochs, seed, pruning)) as study:
            yield study

    @contextmanager
    def take_up(self, study: optuna.Study) -> Iterator[None]:
        """Makes this process the only one on a search whose study was loaded.

        Raises:
            UserError: A driver is on it, or the folder cannot be written.
        """
        with self._alone(lambda: study):
            yield

    @contextmanager
    def _alone(self, opened: Callable[[], optuna.Study]) -> Iterator[optuna.Study]:
        lock = FileLock(self.local / "driver.lock")
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"one driver at a time works on a search, but another is on {self.local}") from error
        except OSError as error:
            raise UserError(f"--storage must be writable, but {self.local} is not: {error.strerror}") from error
        try:
            study = opened()
            # The lock is of this host alone; a database is reached from others too.
            with leased(study, _end_at_once) if self.study_url else nullcontext():
                take(study)
                yield study
        finally:
            lock.release()


def find_folder(root: str, name: str, study_url: str | None, resume: bool) -> SearchFolder:
    """The search that a command means: the latest of its name to resume, else a fresh one.

    Raises:
        UserError: There is nothing to resume, or an unfinished search has the name.
    """
    _check_name(name)
    fresh, latest = _folder(root, name, study_url), None
    while (study := fresh.load()) is not None:
        latest, finished = fresh, is_finished(study)
        number = int(fresh.name.removeprefix(name).lstrip("-") or 1) + 1
        fresh = _folder(root, f"{name}-{number}", study_url)
    if resume and latest is None:
        raise UserError(f"--resume needs a search, but there is none named {name!r} in {root}: leave --resume out")
    if latest is None or (finished and not resume):
        return fresh
    if not resume:
        raise UserError(
            f"the search {latest.name!r} in {root} is unfinished: go on with --resume, or take another --name"
        )
    return latest


def existing_folder(root: str, name: str, study_url: str | None) -> tuple[SearchFolder, optuna.Study]:
    """The search of exactly that name.

    Raises:
        UserError: There is none.
    """
    _check_name(name)
    folder = _folder(root, name, study_url)
    study = folder.load()
    if study is None:
        raise UserError(f"the search must be there, but there is none named {name!r} in {root}: name it in full")
    return folder, study


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w\-.]*", name):
        raise UserError(f"--name must be letters, digits, _ - and . alone, but got {name!r}")


def _folder(root: str, name: str, study_url: str | None) -> SearchFolder:
    check_address("--storage", root)
    remote = "://" in root
    if remote and root.partition("://")[0] not in _SCHEMES:
        raise UserError(f"--storage must be a folder, or a URI of {', '.join(_SCHEMES)}, but got {root}")
    if remote and study_url is None:
        raise UserError(f"a study cannot live on {root}: give --study-storage, a database that the driver reaches")
    local = Path.home() / ".tune-run" / name if remote else Path(root).resolve() / name
    return SearchFolder(name, f"{root.rstrip('/')}/{name}" if remote else str(local), local, study_url)


def check_address(option: str, address: str) -> None:
    """Raises UserError for an address with credentials: it is recorded with every checkpoint, and in every log."""
    if has_credentials(address):
        raise UserError(
            f"{option} must hold no credentials, but {without_credentials(address)} did: give them to each node as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment that Ray is started in, or by its role"
        )


def _end_at_once() -> None:
    """Ends this process as a kill would: whatever it did now would be done to a search that is another driver's."""
    print("tune-run: another driver has taken this search over, for this one was silent too long", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
