"""Saving the options of ``tune-run``, and restoring them for ``--resume``."""

import os
import re
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import optuna

from search_spaces.space import load_space, shipped_spaces
from trainables.core.errors import UserError
from trainables.core.redact import without_credentials
from tuning.search.options import absolute
from tuning.study.attributes import read_options, saved_segmentation
from tuning.study.search_folder import NoSearchError, existing_folder, latest_folder

# The first four are no settings of a search, the next three are needed to find the saved options, and the contents of
# the study file are saved by themselves.
_NOT_SAVED = {"list_spaces", "dry_run", "resume", "continue_budget", "storage", "study_storage", "name", "study"}
_PATHS = {"data", "weights", "roi", "groups"}


def to_save(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as JSON, with absolute paths and without credentials."""
    return {name: _as_json(name, value) for name, value in params.items() if name not in _NOT_SAVED}


def _as_json(name: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_as_json("data" if name == "labels" else name, each) for each in value]
    if not isinstance(value, str):
        return value
    is_path = name in _PATHS or (name == "space" and value.endswith(".py"))
    return without_credentials(absolute(name, value) if is_path else value)


def resumed(params: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the options of a resumed search: its own, replaced by those given now, and ``continue_budget``.

    The command may name the search by ``--name``, by its name in place of the space, or by its space.

    Args:
        params: Options of the command.
        given: Names of the options that the user gave.

    Raises:
        UserError: There is neither such a search nor such a space, or the studies cannot be read.
    """
    study = _study(params)
    saved = read_options(study)
    if not saved:
        return dict(params)
    kept = {option: value for option, value in saved.items() if option in params and option not in given}
    if "MLFLOW_TRACKING_URI" in os.environ:
        kept.pop("tracking_uri", None)
    if kept.get("roi") is not None:  # an alias, such as @champion, may name another version by now
        kept["roi"] = saved_segmentation(study) or kept["roi"]
    space = params["space"]
    if space is None or (params["name"] is None and not _is_file_or_module(space)):
        space = saved["space"]
        if not space.endswith(".py"):
            space = Path(space).name  # an older version saved the path of a folder that had the space's name
    continue_budget = "time_budget" not in given
    return {**params, **kept, "space": space, "name": study.study_name, "continue_budget": continue_budget}


def _study(params: Mapping[str, Any]) -> optuna.Study:
    """Return the study that ``--resume`` means."""
    root, url, space = params["storage"], params["study_storage"], params["space"]
    if params["name"] is not None:
        return existing_folder(root, params["name"], url)[1]
    if space is None:
        raise UserError("--resume needs the name of a search, as in tune-run --resume NAME, but got none")
    if _is_file_or_module(space):
        return latest_folder(root, load_space(space).name, url)[1]
    try:
        return latest_folder(root, space, url)[1]
    except NoSearchError:
        if space in {shipped.name for shipped in shipped_spaces()}:
            raise
    try:
        return existing_folder(root, space, url)[1]
    except NoSearchError as error:
        raise UserError(
            f"--resume must name a search in --storage, or a space, but {root} has no search {space!r}, and there is "
            "no such space"
        ) from error


def _is_file_or_module(space: str) -> bool:
    return re.search(r"[/:]|\.py$", space) is not None
