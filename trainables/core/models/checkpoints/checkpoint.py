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

import safetensors.torch
from torch import Tensor

from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError, first_line
from trainables.core.models.checkpoints.train_state import TrainState

_TENSORS, _META, _FROZEN = "state.safetensors", "state.json", "frozen.safetensors"


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


@dataclass(frozen=True)
class FrozenPart:
    """The tensors that training never moves, stored once for all checkpoints that share them.

    Attributes:
        sha256: Of its file, by which checkpoints name it.
        names: Of its tensors.
    """

    sha256: str
    names: frozenset[str]


def save_frozen(folder: Path, state: TrainState, frozen: tuple[str, ...]) -> FrozenPart:
    """Writes the model's tensors whose names begin with one of ``frozen`` into a new folder."""
    prefixes = tuple(f"model.{prefix}" for prefix in frozen)
    names = frozenset(name for name in state.tensors if name.startswith(prefixes))
    folder.mkdir(parents=True)
    _save_tensors({name: state.tensors[name] for name in names}, folder / _FROZEN)
    return FrozenPart(_sha256(folder / _FROZEN), names)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, frozen: FrozenPart | None = None) -> None:
    """Writes a checkpoint into a folder that does not exist yet; it appears whole, or not at all.

    Args:
        folder: To be created.
        checkpoint: What to write.
        frozen: What to leave out and name, because ``save_frozen`` has stored it; None writes everything.
    """
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    try:
        left_out = frozen.names if frozen else frozenset()
        tensors = {name: tensor for name, tensor in checkpoint.state.tensors.items() if name not in left_out}
        _save_tensors(tensors, partial / _TENSORS)
        meta = {
            "epoch": checkpoint.state.epoch,
            "scaler": checkpoint.state.scaler,
            "config": checkpoint.config.to_dict(),
            "class_names": checkpoint.class_names,
            "pixel_format": dataclasses.asdict(checkpoint.pixel_format),
            "progress": checkpoint.progress,
            "sha256": _sha256(partial / _TENSORS),
            "frozen_sha256": frozen.sha256 if frozen else None,
        }
        (partial / _META).write_text(json.dumps(meta, indent=1))
        for file in (_TENSORS, _META):
            _sync(partial / file)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def frozen_digest(folder: Path) -> str | None:
    """Which frozen part a checkpoint names, or None where it holds everything.

    Raises:
        CheckpointError: It is not whole.
    """
    digest = _read_meta(folder)["frozen_sha256"]
    return None if digest is None else str(digest)


def load_checkpoint(folder: Path, frozen: Path | None = None) -> Checkpoint:
    """Reads a checkpoint, its tensors on the CPU.

    Args:
        folder: The checkpoint.
        frozen: The folder of the frozen part that it names, if it names one.

    Raises:
        CheckpointError: A file is missing, torn, or not the one that was written.
    """
    meta = _read_meta(folder)
    try:
        tensors = _load_tensors(folder / _TENSORS, meta["sha256"])
        if meta["frozen_sha256"] is not None:
            if frozen is None:
                raise CheckpointError(f"{folder} needs the frozen part {meta['frozen_sha256']}, but got none")
            tensors |= _load_tensors(frozen / _FROZEN, meta["frozen_sha256"])
        return Checkpoint(
            state=TrainState(meta["epoch"], tensors, meta["scaler"]),
            config=TrainConfig.from_dict(meta["config"]),
            class_names=tuple(map(str, meta["class_names"])),
            pixel_format=PixelFormat(**meta["pixel_format"]),
            progress=meta["progress"],
        )
    except CheckpointError:
        raise
    except Exception as error:  # its files may hold anything, and each reader says so in its own way
        raise CheckpointError(f"{folder} is no whole checkpoint: {first_line(error)}") from error


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        return {"frozen_sha256": None, **json.loads((folder / _META).read_text())}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder} is no whole checkpoint: {first_line(error)}") from error


def _save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    # Files know no memory layout: channels_last weights are stored contiguous.
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)


def _load_tensors(file: Path, sha256: str) -> dict[str, Tensor]:
    found = _sha256(file)
    if found != sha256:
        raise CheckpointError(f"{file} must have SHA-256 {sha256}, but has {found}")
    tensors: dict[str, Tensor] = safetensors.torch.load_file(file)
    return tensors


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
