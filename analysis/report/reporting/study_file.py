"""The study file: what only people can say about a study, as YAML ``key: text``."""

import difflib
from pathlib import Path

import yaml

from analysis.report.reporting.claim_items import STUDY_KEYS
from trainables.core.errors import UserError, first_line


def read_study_file(path: Path) -> dict[str, str]:
    """Read the texts of a study file by key; empty texts are left out.

    Raises:
        UserError: The file is missing or is not YAML, a key is unknown, or a value is not text.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--study must be a readable text file, but {path} is not: {first_line(error)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--study must be YAML, but {path} is not: {first_line(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"--study must hold lines like `purpose: text`, but {path} holds a {type(content).__name__}")
    return {str(key): text.strip() for key, text in content.items() if _is_text(key, text, path)}


def _is_text(key: object, text: object, path: Path) -> bool:
    if key not in STUDY_KEYS:
        near = difflib.get_close_matches(str(key), STUDY_KEYS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(STUDY_KEYS)}"
        raise UserError(f"unknown key {key!r} in the study file {path}: {hint}")
    if text is not None and not isinstance(text, str):
        raise UserError(f"{key} in the study file {path} must be text, but got {text!r}: put it in quotes")
    return bool(text and text.strip())
