"""The checkpoint of a cross-validated trial: the models of its finished folds and their out-of-fold predictions.

It is a folder with one ordinary checkpoint per fold, the predictions, and a manifest with the predictions' checksum.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from trainables.core.atomic_write import atomic_folder
from trainables.core.errors import CheckpointError, first_line
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.training.cross_validation import OutOfFold

MANIFEST, PREDICTIONS = "folds.json", "out_of_fold.safetensors"


@dataclass(frozen=True)
class FoldCheckpoint:
    """The finished folds of a cross-validated trial.

    Attributes:
        models: Checkpoint of each finished fold in order, with only the model's tensors.
        pooled: Predictions of the finished folds.
    """

    models: tuple[Checkpoint, ...]
    pooled: OutOfFold


def save_fold_checkpoint(folder: Path, models: Sequence[Path], pooled: OutOfFold) -> None:
    """Write a checkpoint into a new folder, which appears complete or not at all, even after a power loss.

    Args:
        folder: Folder to create, on the file system of ``models``.
        models: Folder of each finished fold's checkpoint. Its files are hard-linked, so they must never be changed.
        pooled: Predictions of the finished folds.
    """
    with atomic_folder(folder) as partial:
        names = [f"fold-{number}" for number in range(1, len(models) + 1)]
        for name, model in zip(names, models, strict=True):
            shutil.copytree(model, partial / name, copy_function=os.link)
        tensors = {"images": torch.from_numpy(pooled.images), "probabilities": torch.from_numpy(pooled.probabilities)}
        predictions = safetensors.torch.save(tensors)
        manifest = json.dumps({"folds": names, "sha256": hashlib.sha256(predictions).hexdigest()}, indent=1).encode()
        for file, content in ((PREDICTIONS, predictions), (MANIFEST, manifest)):
            with (partial / file).open("wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())  # before the rename, which makes it visible


def load_fold_checkpoint(folder: Path, load: Callable[[Path], Checkpoint]) -> FoldCheckpoint:
    """Read a checkpoint that ``save_fold_checkpoint`` wrote.

    Args:
        folder: Folder of the checkpoint.
        load: Function that reads the checkpoint of one fold.

    Raises:
        CheckpointError: A file is missing, truncated or changed.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
        pooled = parse_predictions(manifest, (folder / PREDICTIONS).read_bytes())
        models = [folder / name for name in json.loads(manifest)["folds"]]
    except (OSError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a complete checkpoint: {first_line(error)}") from error
    return FoldCheckpoint(tuple(map(load, models)), pooled)


def parse_predictions(manifest: bytes, predictions: bytes) -> OutOfFold:
    """Parse the predictions of a checkpoint without reading its models.

    Args:
        manifest: Content of the file ``MANIFEST``.
        predictions: Content of the file ``PREDICTIONS``.

    Raises:
        CheckpointError: The content is truncated or changed.
    """
    try:
        expected = json.loads(manifest)["sha256"]
        actual = hashlib.sha256(predictions).hexdigest()
        if actual != expected:
            raise CheckpointError(f"{PREDICTIONS} must have SHA-256 {expected}, but has {actual}")
        tensors = safetensors.torch.load(predictions)
        return OutOfFold(tensors["images"].numpy(), tensors["probabilities"].numpy())
    except CheckpointError:
        raise
    except Exception as error:  # damaged content makes the parsers raise any type
        raise CheckpointError(f"out-of-fold predictions are not complete: {first_line(error)}") from error
