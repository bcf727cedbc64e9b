"""Predictions of an opened test set, kept beside the search: a report draws from them, and opens nothing again."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from pyarrow.fs import FileSystem, LocalFileSystem

from trainables.core.data.dataset import Dataset
from trainables.core.errors import first_line
from tuning.ensemble.build import Infer
from tuning.study.opening_ledger import split_fingerprint

_KEPT = "predictions"


def keeping(infer: Infer, study: optuna.Study, data: Dataset, place: str, views: str) -> Infer:
    """The same inference, whose predictions are written down before anyone sees them: on ``test``, and for selection.

    Each goes into a file of its own, whole or not at all, which the study names with its digest. Where it cannot be
    written the search goes on without.

    Args:
        infer: Scores members.
        study: Of the search.
        data: What is scored.
        place: The search's folder, a path or URI.
        views: What ``infer`` sees of an image.
    """

    def kept(checkpoints: Sequence[str], split: str) -> NDArray[Any]:
        predictions = infer(checkpoints, split)
        if split in (data.selection, "test"):
            about = _about(checkpoints, data, split, views)
            try:
                written = _write(place, split, predictions)
            except OSError as error:
                written = {"failed": first_line(error)}
            study.set_user_attr(_KEPT, {**study.user_attrs.get(_KEPT, {}), split: {**about, **written}})
        return predictions

    return kept


def kept_predictions(
    study: optuna.Study, data: Dataset, place: str, checkpoints: Sequence[str], split: str, views: str
) -> tuple[NDArray[np.float32] | None, str]:
    """What ``infer`` gave of members on a split, as it was when it was scored; or None, and why.

    Args:
        study: Of the search.
        data: What was scored.
        place: The search's folder, a path or URI.
        checkpoints: Of the M members.
        split: ``select`` or ``test``.
        views: What members saw of an image.
    """
    noted: dict[str, Any] | None = study.user_attrs.get(_KEPT, {}).get(split)
    if noted is None:
        return None, f"predictions on {split} were not kept: an older version searched"
    if "failed" in noted:
        return None, f"predictions on {split} could not be written: {noted['failed']}"
    about = _about(checkpoints, data, split, views)
    if {name: noted[name] for name in about} != about:
        return None, f"the predictions on {split} that were kept are of other members or images"
    try:
        files, folder = _file_system(place)
        with files.open_input_file(f"{folder}/{noted['file']}") as opened:
            content = opened.read()
    except OSError as error:
        return None, f"predictions on {split} cannot be read: {first_line(error)}"
    if hashlib.sha256(content).hexdigest() != noted["sha256"]:
        return None, f"predictions on {split} are not those that were written: {noted['file']} has another SHA-256"
    with np.load(io.BytesIO(content)) as arrays:
        return arrays["probabilities"], ""


def _about(checkpoints: Sequence[str], data: Dataset, split: str, views: str) -> dict[str, Any]:
    return {"checkpoints": list(checkpoints), "views": views, "fingerprint": split_fingerprint(data, split)}


def _write(place: str, split: str, predictions: NDArray[Any]) -> dict[str, str]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=predictions)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = f"predictions-{split}-{digest[:12]}.npz"
    files, folder = _file_system(place)
    partial = f"{folder}/.{file}.partial"
    files.create_dir(folder, recursive=True)
    with files.open_output_stream(partial) as opened:
        opened.write(buffer.getvalue())
    files.move(partial, f"{folder}/{file}")
    return {"file": file, "sha256": digest}


def _file_system(place: str) -> tuple[FileSystem, str]:
    if "://" in place:
        files, folder = FileSystem.from_uri(place)
        return files, folder
    return LocalFileSystem(), place
