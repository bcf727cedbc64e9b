"""Checkpoints as safetensors and JSON: whole or absent, verified by digest, read without running code."""

import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from trainables.core.config import TrainConfig
from trainables.core.data.decode import PixelFormat
from trainables.core.errors import CheckpointError, ConfigError, first_line
from trainables.core.state import TrainState

_TENSORS, _META = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained state and what is needed to use it.

    Attributes:
        state: Where training stood.
        config: What was trained.
        class_names: C names in class order.
        pixel_format: How images were decoded.
        progress: The report loop's own figures (best so far, ...), carried through a resume.
    """

    state: TrainState
    config: TrainConfig
    class_names: tuple[str, ...]
    pixel_format: PixelFormat
    progress: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint into a folder that does not exist yet; it appears whole, or not at all."""
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    try:
        # Files know no memory layout: channels_last weights are stored contiguous.
        tensors = {name: tensor.contiguous() for name, tensor in checkpoint.state.tensors.items()}
        safetensors.torch.save_file(tensors, partial / _TENSORS)
        meta = {
            "epoch": checkpoint.state.epoch,
            "scaler": checkpoint.state.scaler,
            "config": checkpoint.config.to_dict(),
            "class_names": checkpoint.class_names,
            "pixel_format": dataclasses.asdict(checkpoint.pixel_format),
            "progress": checkpoint.progress,
            "sha256": _sha256(partial / _TENSORS),
        }
        (partial / _META).write_text(json.dumps(meta, indent=1))
        for file in (_TENSORS, _META):
            _sync(partial / file)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load_checkpoint(folder: Path) -> Checkpoint:
    """Reads a checkpoint, its tensors on the CPU.

    Raises:
        CheckpointError: A file is missing, torn, or not the one that was written.
    """
    try:
        meta = json.loads((folder / _META).read_text())
        found = _sha256(folder / _TENSORS)
        if found != meta["sha256"]:
            raise CheckpointError(f"{folder / _TENSORS} must have SHA-256 {meta['sha256']}, but has {found}")
        tensors = safetensors.torch.load_file(folder / _TENSORS)
        return Checkpoint(
            state=TrainState(meta["epoch"], tensors, meta["scaler"]),
            config=TrainConfig.from_dict(meta["config"]),
            class_names=tuple(meta["class_names"]),
            pixel_format=PixelFormat(**meta["pixel_format"]),
            progress=meta["progress"],
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder} is no whole checkpoint: {first_line(error)}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
