"""Checkpoints as safetensors and JSON: complete or absent, verified by checksum, read without running code."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from trainables.core.atomic_write import atomic_folder
from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.image_kind import ImageKind
from trainables.core.errors import CheckpointError, first_line
from trainables.core.models.backbones.lora import is_update
from trainables.core.models.checkpoints.train_state import TrainState

_TENSORS, _META, _FROZEN = "state.safetensors", "state.json", "frozen.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A training state with everything needed to resume it or to predict with it.

    Attributes:
        state: State of training.
        config: Configuration that was trained.
        class_names: C names in class order.
        pixel_format: Format of the decoded images.
        progress: Figures that the report loop needs after a resume (best value so far, ...).
        kind: Kind of the training images; None in checkpoints of earlier versions.
        ordered: True if the classes are grades, from the lowest to the highest.
        devices: Number of devices that trained it together; None in checkpoints of earlier versions.
    """

    state: TrainState
    config: TrainConfig
    class_names: tuple[str, ...]
    pixel_format: PixelFormat
    progress: dict[str, Any]
    kind: ImageKind | None = None
    ordered: bool = False
    devices: int | None = None


@dataclass(frozen=True)
class FrozenPart:
    """The tensors that training never changes, stored once for all checkpoints that share them.

    Attributes:
        sha256: Checksum of its file; checkpoints refer to it.
        names: Names of its tensors.
    """

    sha256: str
    names: frozenset[str]


def save_frozen(folder: Path, state: TrainState, frozen: tuple[str, ...]) -> FrozenPart:
    """Write the frozen tensors of a model into a new folder.

    LoRA updates are left to the checkpoints: they are random, so no two trials would share the part.

    Args:
        folder: Folder to create.
        state: State of training.
        frozen: Prefixes of the frozen tensors' names, as in ``TrainConfig.frozen``.
    """
    prefixes = tuple(f"model.{prefix}" for prefix in frozen)
    names = frozenset(name for name in state.tensors if name.startswith(prefixes) and not is_update(name))
    folder.mkdir(parents=True)
    _save_tensors({name: state.tensors[name] for name in names}, folder / _FROZEN)
    return FrozenPart(_sha256(folder / _FROZEN), names)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, frozen: FrozenPart | None = None) -> None:
    """Write a checkpoint into a new folder, which appears complete or not at all, even after a power loss.

    Args:
        folder: Folder to create.
        checkpoint: Checkpoint to write.
        frozen: Part that ``save_frozen`` has stored: the checkpoint refers to it instead of storing its tensors. None
            stores everything.
    """
    with atomic_folder(folder) as partial:
        omitted = frozen.names if frozen else frozenset()
        tensors = {name: tensor for name, tensor in checkpoint.state.tensors.items() if name not in omitted}
        _save_tensors(tensors, partial / _TENSORS)
        meta = {
            "epoch": checkpoint.state.epoch,
            "scaler": checkpoint.state.scaler,
            "config": checkpoint.config.to_dict(),
            "class_names": checkpoint.class_names,
            "pixel_format": dataclasses.asdict(checkpoint.pixel_format),
            "progress": checkpoint.progress,
            "kind": checkpoint.kind.to_dict() if checkpoint.kind else None,
            "ordered": checkpoint.ordered,
            "devices": checkpoint.devices,
            "sha256": _sha256(partial / _TENSORS),
            "frozen_sha256": frozen.sha256 if frozen else None,
        }
        (partial / _META).write_text(json.dumps(meta, indent=1))
        for file in (_TENSORS, _META):  # before the rename, which makes them visible
            _sync(partial / file)


def frozen_digest(folder: Path) -> str | None:
    """Return the checksum of the frozen part that a checkpoint refers to, or None if it stores everything.

    Raises:
        CheckpointError: The checkpoint is incomplete.
    """
    digest = _read_meta(folder)["frozen_sha256"]
    return None if digest is None else str(digest)


def read_config(folder: Path) -> TrainConfig:
    """Return the configuration of a checkpoint, without its tensors.

    Raises:
        CheckpointError: The checkpoint is incomplete.
    """
    return TrainConfig.from_dict(_read_meta(folder)["config"])


def load_checkpoint(folder: Path, frozen: Path | None = None) -> Checkpoint:
    """Read a checkpoint, with its tensors on the CPU.

    Args:
        folder: Folder of the checkpoint.
        frozen: Folder of the frozen part, if the checkpoint refers to one.

    Raises:
        CheckpointError: A file is missing, truncated or changed.
    """
    meta = _read_meta(folder)
    try:
        tensors = _load_tensors(folder / _TENSORS, meta["sha256"])
        if meta["frozen_sha256"] is not None:
            if frozen is None:
                raise CheckpointError(f"{folder} needs its frozen part {meta['frozen_sha256']}, but got none")
            tensors |= _load_tensors(frozen / _FROZEN, meta["frozen_sha256"])
        return Checkpoint(
            state=TrainState(meta["epoch"], tensors, meta["scaler"]),
            config=TrainConfig.from_dict(meta["config"]),
            class_names=tuple(map(str, meta["class_names"])),
            pixel_format=PixelFormat.from_dict(meta["pixel_format"]),
            progress=meta["progress"],
            kind=ImageKind.from_dict(meta["kind"]) if meta["kind"] else None,
            ordered=meta["ordered"],
            devices=meta["devices"],
        )
    except CheckpointError:
        raise
    except Exception as error:  # damaged files make the readers raise any type
        raise CheckpointError(f"{folder} is not a complete checkpoint: {first_line(error)}") from error


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        later = {"frozen_sha256": None, "kind": None, "ordered": False, "devices": None}  # than the first version
        return {**later, **json.loads((folder / _META).read_text())}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder} is not a complete checkpoint: {first_line(error)}") from error


def _save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    # Files do not store the memory layout, so channels_last weights become contiguous: on the CPU, to spare the GPU's
    # memory a second copy of them.
    safetensors.torch.save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)


def _load_tensors(file: Path, sha256: str) -> dict[str, Tensor]:
    actual = _sha256(file)
    if actual != sha256:
        raise CheckpointError(f"{file} must have SHA-256 {sha256}, but has {actual}")
    tensors: dict[str, Tensor] = safetensors.torch.load_file(file)
    return tensors


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
