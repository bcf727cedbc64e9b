"""Saving the options of ``tune-run``, and restoring them for ``--resume``."""

import os
import re
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from search_spaces.space import load_space
from trainables.core.errors import UserError
from trainables.core.redact import without_credentials
from tuning.study.attributes import read_options
from tuning.study.search_folder import existing_folder, find_folder

# The first four are no settings of a search, the next three are needed to find the saved options, and the contents of
# the study file are saved by themselves.
_NOT_SAVED = {"list_spaces", "dry_run", "resume", "continue_budget", "storage", "study_storage", "name", "study"}
_PATHS = {"space", "data", "weights", "roi", "groups"}


def to_save(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as JSON, with absolute paths and without credentials."""
    return {name: _as_json(name, value) for name, value in params.items() if name not in _NOT_SAVED}


def _as_json(name: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_as_json("data" if name == "labels" else name, each) for each in value]
    if name in _PATHS and isinstance(value, str) and Path(value).exists():
        return str(Path(value).resolve())
    return without_credentials(value) if isinstance(value, str) else value


def resumed(params: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the options of a resumed search: its own, replaced by those given now, and ``continue_budget``.

    The command may name the search by ``--name``, by its name in place of the space, or by its space.

    Args:
        params: Options of the command.
        given: Names of the options that the user gave.

    Raises:
        UserError: There is neither such a search nor such a space.
    """
    name = params["name"] or params["space"]
    study = name and _study(params, name)
    if not study and params["name"] is None and params["space"] is not None:
        try:
            name = load_space(params["space"]).name
        except UserError as error:
            if not re.search(r"[/:]|\.py$", name):  # neither a file nor a module
                raise UserError(
                    f"--resume must name a search in --storage, or a space, but {params['storage']} has no search "
                    f"{name!r}, and there is no such space"
                ) from error
            raise
        study = _study(params, name)
    if not study:
        return dict(params)  # the search's own check refuses this
    saved = read_options(study)
    if not saved:
        return dict(params)
    by_name = params["name"] is None and name == params["space"]
    kept = {option: value for option, value in saved.items() if option in params and option not in given}
    if "MLFLOW_TRACKING_URI" in os.environ:
        kept.pop("tracking_uri", None)
    space = saved["space"] if by_name or params["space"] is None else params["space"]
    continue_budget = "time_budget" not in given
    return {**params, **kept, "space": space, "name": study.study_name, "continue_budget": continue_budget}


def _study(params: Mapping[str, Any], name: str) -> Any:
    """Return the study that ``--resume`` means by a name, or None."""
    place = params["storage"], name, params["study_storage"]
    try:
        if params["name"] is not None:
            return existing_folder(*place)[1]
        return find_folder(*place, resume=True).load()
    except UserError:
        return None
