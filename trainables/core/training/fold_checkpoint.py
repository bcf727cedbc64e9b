"""The checkpoint of a cross-validated trial: its finished folds' models and what they predict out of their folds.

A folder of ordinary checkpoints, one a fold, the predictions, and a manifest that names the predictions' digest.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from trainables.core.errors import CheckpointError, first_line
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.training.cross_validation import OutOfFold

MANIFEST, PREDICTIONS = "folds.json", "out_of_fold.safetensors"


@dataclass(frozen=True)
class Folded:
    """What a cross-validated trial has reached.

    Attributes:
        models: Of its finished folds, in order; each holds the model alone.
        pooled: What they predict of their own folds' images.
    """

    models: tuple[Checkpoint, ...]
    pooled: OutOfFold


def save_folded(folder: Path, models: Sequence[Path], pooled: OutOfFold) -> None:
    """Writes the checkpoint into a folder that does not exist yet; it appears whole, or not at all.

    Args:
        folder: To be created, on the file system of ``models``.
        models: A checkpoint's folder for each finished fold; linked, not copied, so they must never be changed.
        pooled: What they predict.
    """
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    try:
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
                os.fsync(opened.fileno())
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load_folded(folder: Path, load: Callable[[Path], Checkpoint]) -> Folded:
    """Reads what ``save_folded`` wrote.

    Args:
        folder: The checkpoint.
        load: Reads one fold's.

    Raises:
        CheckpointError: A file is missing, torn, or not the one that was written.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
        pooled = parse_predictions(manifest, (folder / PREDICTIONS).read_bytes())
        models = [folder / name for name in json.loads(manifest)["folds"]]
    except (OSError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is no whole checkpoint: {first_line(error)}") from error
    return Folded(tuple(map(load, models)), pooled)


def parse_predictions(manifest: bytes, predictions: bytes) -> OutOfFold:
    """The predictions of a checkpoint, of which no model need be read.

    Args:
        manifest: The content of the file ``MANIFEST``.
        predictions: That of ``PREDICTIONS``.

    Raises:
        CheckpointError: They are not what was written.
    """
    try:
        expected = json.loads(manifest)["sha256"]
        found = hashlib.sha256(predictions).hexdigest()
        if found != expected:
            raise CheckpointError(f"{PREDICTIONS} must have SHA-256 {expected}, but has {found}")
        tensors = safetensors.torch.load(predictions)
        return OutOfFold(tensors["images"].numpy(), tensors["probabilities"].numpy())
    except CheckpointError:
        raise
    except Exception as error:  # they may hold anything, and each reader says so in its own way
        raise CheckpointError(f"out-of-fold predictions are not whole: {first_line(error)}") from error
