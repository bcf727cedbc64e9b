"""Attributes that a driver stores in a search's study next to its trials: identity, data, progress and names."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from analysis.trials import RECIPE
from trainables.core.errors import UserError
from tuning.study.data_request import DataRequest

# Keys in the study. Existing studies hold them: do not change them.
_FINISHED = "finished"
_IDENTITY = "identity"
_SESSIONS = "sessions"
_DATA = "data"
_ENSEMBLE_REQUEST = "ensemble asked for"
_UID = "uid"
_OPTIONS = "options"
_STUDY_TEXTS = "study file"
_FIRST_TRIALS = "first trials"
_TRAINING_S = "training seconds"


@dataclass(frozen=True)
class FirstTrial:
    """One of the first trials of a search, in whose order the sampler has its turn as well.

    Attributes:
        params: Values of all parameters that its branch of the space reads; none if the sampler chooses them.
        origin: WARM_START, PORTFOLIO, RECIPE or SAMPLER of ``analysis.trials``.
    """

    params: dict[str, Any]
    origin: str


def read_identity(study: optuna.Study) -> dict[str, Any]:
    """Return the identity that ``identity.check_identity`` saved.

    Raises:
        UserError: The search stopped before it was saved.
    """
    identity: dict[str, Any] | None = study.user_attrs.get(_IDENTITY)
    if identity is None:
        raise _incomplete(study)
    return identity


def searched_space(study: optuna.Study) -> str | None:
    """Return the name of the space that a search searches; None if it stopped before its identity was saved."""
    identity: dict[str, Any] = study.user_attrs.get(_IDENTITY, {})
    return identity.get("space")


def save_data_request(study: optuna.Study, request: DataRequest) -> None:
    """Save how the data is prepared, so that other commands can prepare it again."""
    study.set_user_attr(_DATA, asdict(request))


def read_data_request(study: optuna.Study) -> DataRequest:
    """Return how the search's data was prepared.

    Raises:
        UserError: The search stopped before it was saved.
    """
    request = study.user_attrs.get(_DATA)
    if request is None:
        raise _incomplete(study)
    return DataRequest.from_dict(request)


def divided_as_before(study: optuna.Study, request: DataRequest) -> DataRequest:
    """Return a request that finds and stratifies groups as the search did when it began, if it saved how."""
    saved = study.user_attrs.get(_DATA)
    if saved is None:
        return request
    before = DataRequest.from_dict(saved)
    grouping = replace(request.grouping, older=before.grouping.older)
    return replace(request, stratify_by=before.stratify_by, grouping=grouping)


def saved_segmentation(study: optuna.Study) -> str | None:
    """Return the folder of the search's own copy of its ``--roi`` model, or None if there is none."""
    folder: str | None = study.user_attrs.get(_DATA, {}).get("roi")
    return folder if folder is not None and Path(folder).is_dir() else None


def _incomplete(study: optuna.Study) -> UserError:
    return UserError(
        f"search {study.study_name!r} stopped before its data was prepared, or was started by an older version: "
        "continue it with tune-run --resume"
    )


def save_ensemble_request(study: optuna.Study, k: int, views: str, decisions: Mapping[str, Any]) -> None:
    """Save the ensemble size, test-time views and rules for decisions that the search was started with."""
    study.set_user_attr(_ENSEMBLE_REQUEST, [k, views, dict(decisions)])


def read_ensemble_request(study: optuna.Study) -> tuple[int, str, dict[str, Any]]:
    """Return what ``save_ensemble_request`` saved."""
    # Older studies were always built with these, and without rules for decisions.
    k, views, *decisions = study.user_attrs.get(_ENSEMBLE_REQUEST, (5, "none"))
    return k, views, decisions[0] if decisions else {}


def save_options(study: optuna.Study, options: Mapping[str, Any]) -> None:
    """Save the command's options, with which ``--resume`` continues unless they are given again."""
    study.set_user_attr(_OPTIONS, dict(options))


def read_options(study: optuna.Study) -> dict[str, Any]:
    """Return the options that the search was started or last resumed with; none for a study of an older version."""
    options: dict[str, Any] = study.user_attrs.get(_OPTIONS, {})
    return options


def save_study_texts(study: optuna.Study, texts: Mapping[str, str]) -> None:
    """Save the texts of the study file, which reports show."""
    study.set_user_attr(_STUDY_TEXTS, dict(texts))


def read_study_texts(study: optuna.Study) -> dict[str, str]:
    """Return the texts of the study file by key; none without one."""
    texts: dict[str, str] = study.user_attrs.get(_STUDY_TEXTS, {})
    return texts


def save_first_trials(study: optuna.Study, first: Sequence[FirstTrial]) -> None:
    """Save the trials that the search tries first, in order."""
    study.set_user_attr(_FIRST_TRIALS, [asdict(trial) for trial in first])


def read_first_trials(study: optuna.Study) -> list[FirstTrial] | None:
    """Return the trials that the search tries first; None if they were not saved."""
    saved: list[dict[str, Any]] | None = study.user_attrs.get(_FIRST_TRIALS)
    if saved is None:
        return None
    # An older version saved only the parameters, and called all of them recipes.
    return [FirstTrial(**one) if one.keys() == {"params", "origin"} else FirstTrial(one, RECIPE) for one in saved]


def save_training_time(study: optuna.Study, seconds: float) -> None:
    """Save how long the search has trained within its time budget."""
    study.set_user_attr(_TRAINING_S, seconds)


def read_training_time(study: optuna.Study) -> float:
    """Return how many seconds the search has trained within its time budget."""
    return float(study.user_attrs.get(_TRAINING_S, 0.0))


def search_uid(study: optuna.Study) -> str:
    """Return the search's globally unique ID, by which its MLflow runs are found."""
    uid = study.user_attrs.get(_UID)
    if uid is None:
        uid = uuid.uuid4().hex
        study.set_user_attr(_UID, uid)
    return str(uid)


def next_session(study: optuna.Study) -> str:
    """Return a new, unused name for this driver's session on the search."""
    number = int(study.user_attrs.get(_SESSIONS, 0)) + 1
    study.set_user_attr(_SESSIONS, number)
    return f"session-{number:03d}"


def mark_finished(study: optuna.Study, finished: bool) -> None:
    """Save whether the search is finished."""
    study.set_user_attr(_FINISHED, finished)


def is_finished(study: optuna.Study) -> bool:
    """Return True if the search is finished."""
    return bool(study.user_attrs.get(_FINISHED))
