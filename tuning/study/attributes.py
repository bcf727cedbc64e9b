"""What a driver notes in a search's study beside its trials: what it is about, how far it came, what it is called."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import optuna

from trainables.core.errors import UserError
from tuning.search.data_request import DataRequest

_FINISHED = "finished"
_IDENTITY = "identity"
_SESSIONS = "sessions"
_DATA = "data"
_ASKED = "ensemble asked for"
_UID = "uid"


def check_identity(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Notes what a search is about, or compares it with what was noted, where what is missing counts as None.

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


def note_data(study: optuna.Study, request: DataRequest) -> None:
    """Notes what the data is prepared from, so that it can be without the command that searched."""
    study.set_user_attr(_DATA, asdict(request))


def noted(study: optuna.Study) -> tuple[dict[str, Any], DataRequest]:
    """What the search is about (``check_identity``) and what its data was prepared from (``note_data``).

    Raises:
        UserError: The search has not come so far.
    """
    identity, asked = study.user_attrs.get(_IDENTITY), study.user_attrs.get(_DATA)
    if identity is None or asked is None:
        message = (
            f"the search {study.study_name!r} has not begun, or an older version did: go on with tune-run --resume"
        )
        raise UserError(message)
    return identity, DataRequest.from_dict(asked)


def note_members(study: optuna.Study, k: int, views: str) -> None:
    """Notes what the search's ensemble is to be built from."""
    study.set_user_attr(_ASKED, [k, views])


def noted_members(study: optuna.Study) -> tuple[int, str]:
    """How many trials the search builds its ensemble from, and which views of an image they see."""
    k, views = study.user_attrs.get(_ASKED, (5, "none"))  # before it was noted, there were no other defaults
    return k, views


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


def is_finished(study: optuna.Study) -> bool:
    """Whether the search came to its end."""
    return bool(study.user_attrs.get(_FINISHED))
