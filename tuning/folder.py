"""A search's folder and its name: which one a command means, and that one driver alone works in it."""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout

from trainables.core.errors import UserError
from tuning.storage import JOURNAL, study_storage

_FINISHED = "finished"
_IDENTITY = "identity"
_SESSIONS = "sessions"
_UID = "uid"


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

    @contextmanager
    def take(self) -> Iterator[None]:
        """Makes this driver the only one on the search.

        Raises:
            UserError: Another one is, or the folder cannot be written.
        """
        lock = FileLock(self.local / "driver.lock")
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"one driver at a time works on a search, but another is on {self.local}") from error
        except OSError as error:
            raise UserError(f"--storage must be writable, but {self.local} is not: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()


def find_folder(root: str, name: str, study_url: str | None, resume: bool) -> SearchFolder:
    """The search that a command means: the latest of its name to resume, else a fresh one.

    Raises:
        UserError: There is nothing to resume, or an unfinished search has the name.
    """
    if not re.fullmatch(r"\w[\w\-.]*", name):
        raise UserError(f"--name must be letters, digits, _ - and . alone, but got {name!r}")
    fresh, latest = _folder(root, name, study_url), None
    while (study := fresh.load()) is not None:
        latest, finished = fresh, bool(study.user_attrs.get(_FINISHED))
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


def check_identity(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Notes what a search is about, or compares it with what was noted.

    Raises:
        UserError: A resumed search would become another one; the message names what differs.
    """
    noted = study.user_attrs.get(_IDENTITY)
    if noted is None:
        study.set_user_attr(_IDENTITY, dict(identity))
        return
    for key, value in identity.items():
        if noted.get(key) != value:
            raise UserError(
                f"a resumed search must keep its {key}, but {noted.get(key)!r} became {value!r}: "
                "give what it began with, or begin another with --name"
            )


def search_uid(study: optuna.Study) -> str:
    """A name for the search that no other search anywhere has, by which MLflow's runs are found again."""
    uid = study.user_attrs.get(_UID)
    if uid is None:
        uid = uuid.uuid4().hex
        study.set_user_attr(_UID, uid)
    return str(uid)


def next_session(study: optuna.Study) -> str:
    """A name for this driver's session on the search, never used before."""
    number = int(study.user_attrs.get(_SESSIONS, 0)) + 1
    study.set_user_attr(_SESSIONS, number)
    return f"session-{number:03d}"


def mark_finished(study: optuna.Study, finished: bool) -> None:
    """Notes whether the search came to its end."""
    study.set_user_attr(_FINISHED, finished)


def _folder(root: str, name: str, study_url: str | None) -> SearchFolder:
    remote = "://" in root
    if remote and study_url is None:
        raise UserError(f"a study cannot live on {root}: give --study-storage, a database that the driver reaches")
    local = Path.home() / ".tune-run" / name if remote else Path(root).resolve() / name
    return SearchFolder(name, f"{root.rstrip('/')}/{name}" if remote else str(local), local, study_url)
