"""The files of a served ensemble: where they lie, which ones they are, and how they travel to another machine.

They are safetensors and JSON. Whatever else is stored with a model is neither read nor run.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from trainables.core.errors import DataError, first_line
from trainables.core.serving.ensemble import MANIFEST, ServedEnsemble, load_ensemble
from trainables.core.serving.mask_ensemble import ServedMasks

_WITHIN_MLFLOW = Path("data", "ensemble")


def ensemble_folder(place: Path) -> Path:
    """The folder of the ensemble in ``place``: that itself, or a model as MLflow stores it around one.

    Raises:
        DataError: There is none.
    """
    for folder in (place, place / _WITHIN_MLFLOW):
        if (folder / MANIFEST).is_file():
            return folder
    raise DataError(f"a model must hold {MANIFEST}, as tune-run writes it, but {place} does not")


def ensemble_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all of its files: the same model, the same digest."""
    digest = hashlib.sha256()
    for file in _files(folder):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def open_ensemble(folder: Path, device: torch.device | None = None) -> ServedEnsemble | ServedMasks:
    """Loads the ensemble in ``folder``, and has it predict a blank image: it may claim anything of itself.

    Raises:
        DataError: It is not whole, or not one that this version can read.
    """
    try:
        ensemble = load_ensemble(folder, device)
        ensemble.predict([np.zeros((8, 8), dtype=np.uint8)])
        return ensemble
    except Exception as error:  # each part of it has its own way to say so
        raise DataError(f"the model cannot be loaded: {first_line(error)}") from error


def pack(folder: Path) -> dict[str, bytes]:
    """An ensemble's files by their names, to be sent to another machine."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in _files(folder)}


def unpack(files: dict[str, bytes], folder: Path) -> None:
    """Writes what ``pack`` gave."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
