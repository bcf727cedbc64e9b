"""Files of an ensemble: finding them, identifying them by digest, and sending them to another machine.

They are safetensors and JSON. Any other file stored with a model is neither read nor run.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from trainables.core.errors import DataError, first_line
from trainables.core.serving.ensemble import MANIFEST, load_ensemble
from trainables.core.serving.ensembles.base import Ensemble

_WITHIN_MLFLOW = Path("data", "ensemble")


def ensemble_folder(place: Path) -> Path:
    """Return the ensemble's folder: ``place``, or the folder within it if MLflow stored ``place``.

    Raises:
        DataError: ``place`` holds no ensemble.
    """
    for folder in (place, place / _WITHIN_MLFLOW):
        if (folder / MANIFEST).is_file():
            return folder
    raise DataError(f"a model must hold {MANIFEST}, as tune-run writes it, but {place} does not")


def ensemble_digest(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of all of the ensemble's files."""
    digest = hashlib.sha256()
    for file in _files(folder):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def open_ensemble(folder: Path, device: torch.device | None = None) -> Ensemble:
    """Load an ensemble from an untrusted folder, and check that it can predict a blank image.

    Raises:
        DataError: The ensemble is incomplete or invalid, or this version cannot read it.
    """
    try:
        ensemble = load_ensemble(folder, device)
        ensemble.predict([np.zeros((8, 8), dtype=np.uint8)])
        return ensemble
    except Exception as error:  # the files may hold anything, and each reader raises its own errors
        raise DataError(f"the model cannot be loaded: {first_line(error)}") from error


def pack(folder: Path) -> dict[str, bytes]:
    """Return the contents of an ensemble's files by relative path."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in _files(folder)}


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Write the files that ``pack`` returned."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
