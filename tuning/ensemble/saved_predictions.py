"""Predictions on ``select`` and ``test``, saved beside the search so that a report need not open the test set again."""

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

_PREDICTIONS = "predictions"


def saving_predictions(infer: Infer, study: optuna.Study, data: Dataset, place: str, views: str) -> Infer:
    """Wrap inference so that predictions on ``test`` and on the selection split are saved before they are returned.

    Each split gets one file, which appears whole or not at all; the study holds its name and SHA-256. If it cannot be
    written, the search continues without it.

    Args:
        infer: Inference to wrap.
        study: Study of the search.
        data: Data set that ``infer`` predicts on.
        place: Path or URI of the search's folder.
        views: Views of each image that ``infer`` averages over.
    """

    def infer_and_save(checkpoints: Sequence[str], split: str) -> NDArray[Any]:
        predictions = infer(checkpoints, split)
        if split in (data.selection, "test"):
            origin = _origin(checkpoints, data, split, views)
            try:
                written = _write(place, split, predictions)
            except OSError as error:
                written = {"failed": first_line(error)}
            saved = study.user_attrs.get(_PREDICTIONS, {})
            study.set_user_attr(_PREDICTIONS, {**saved, split: {**origin, **written}})
        return predictions

    return infer_and_save


def load_predictions(
    study: optuna.Study, data: Dataset, place: str, checkpoints: Sequence[str], split: str, views: str
) -> tuple[NDArray[np.float32] | None, str]:
    """Return the saved predictions of members on a split; or None, and the reason.

    Args:
        study: Study of the search.
        data: Data set of the search.
        place: Path or URI of the search's folder.
        checkpoints: Checkpoints of the M members.
        split: ``select``, ``pool`` or ``test``.
        views: Views of each image that members averaged over.
    """
    saved: dict[str, Any] | None = study.user_attrs.get(_PREDICTIONS, {}).get(split)
    if saved is None:
        return None, f"predictions on {split} were not saved: an older version ran the search"
    if "failed" in saved:
        return None, f"predictions on {split} could not be written: {saved['failed']}"
    origin = _origin(checkpoints, data, split, views)
    if {name: saved[name] for name in origin} != origin:
        return None, f"the saved predictions on {split} are of other members or images"
    try:
        files, folder = _file_system(place)
        with files.open_input_file(f"{folder}/{saved['file']}") as opened:
            content = opened.read()
    except OSError as error:
        return None, f"predictions on {split} cannot be read: {first_line(error)}"
    if hashlib.sha256(content).hexdigest() != saved["sha256"]:
        return None, f"predictions on {split} have changed: {saved['file']} has another SHA-256"
    with np.load(io.BytesIO(content)) as arrays:
        return arrays["probabilities"], ""


def _origin(checkpoints: Sequence[str], data: Dataset, split: str, views: str) -> dict[str, Any]:
    return {"checkpoints": list(checkpoints), "views": views, "fingerprint": split_fingerprint(data, split)}


def _write(place: str, split: str, predictions: NDArray[Any]) -> dict[str, str]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=predictions)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = f"predictions-{split}-{digest[:12]}.npz"
    files, folder = _file_system(place)
    partial = f"{folder}/.{file}.partial"
    files.create_dir(folder, recursive=True)
    with files.open_output_stream(partial) as opened:  # not ``atomic_file``: the folder may be in an object store
        opened.write(buffer.getvalue())
    files.move(partial, f"{folder}/{file}")
    return {"file": file, "sha256": digest}


def _file_system(place: str) -> tuple[FileSystem, str]:
    if "://" in place:
        files, folder = FileSystem.from_uri(place)
        return files, folder
    return LocalFileSystem(), place
