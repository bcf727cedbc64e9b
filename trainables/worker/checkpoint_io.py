"""Checkpoints of trials on the search's storage, which is a local path or a bucket."""

import errno
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pyarrow.fs import FileSelector, FileType, LocalFileSystem, copy_files
from ray import tune

from trainables.core.errors import CheckpointError, first_line
from trainables.core.models.checkpoints.checkpoint import (
    Checkpoint,
    FrozenPart,
    frozen_digest,
    load_checkpoint,
    save_frozen,
)
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.training.cross_validation import OutOfFold
from trainables.core.training.fold_checkpoint import (
    MANIFEST,
    PREDICTIONS,
    FoldCheckpoint,
    load_fold_checkpoint,
    parse_predictions,
)

FOLDER = "checkpoint"
_FROZEN = "frozen"


class UnwritableError(Exception):
    """The search's storage, or this node's disk, is full or read-only."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise ``UnwritableError`` instead of the OSError of a full or read-only storage."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise UnwritableError(f"a checkpoint cannot be written: {first_line(error)}") from error


def read_models(location: str) -> tuple[Checkpoint, ...]:
    """Read a trial's checkpoint: one model, or one per finished fold.

    Args:
        location: Path or URI, SEARCH/SESSION/TRIAL/CHECKPOINT.

    Raises:
        CheckpointError: The checkpoint, or the frozen part that it names, is incomplete.
    """
    checkpoint = _read(tune.Checkpoint(location), storage=location.rsplit("/", 3)[0])
    return checkpoint.models if isinstance(checkpoint, FoldCheckpoint) else (checkpoint,)


def read_out_of_fold(location: str) -> OutOfFold:
    """Read the predictions in a cross-validated trial's checkpoint, without its models.

    Raises:
        CheckpointError: The predictions are incomplete or missing.
    """
    stored = tune.Checkpoint(location)
    manifest, predictions = (f"{stored.path}/{FOLDER}/{file}" for file in (MANIFEST, PREDICTIONS))
    try:
        with (
            stored.filesystem.open_input_stream(manifest) as manifest_file,
            stored.filesystem.open_input_stream(predictions) as predictions_file,
        ):
            return parse_predictions(manifest_file.read(), predictions_file.read())
    except OSError as error:
        raise CheckpointError(f"{location} has no out-of-fold predictions: {first_line(error)}") from error


def restore(resume_from: Sequence[str], storage: str) -> Checkpoint | FoldCheckpoint | None:
    """Read the latest complete checkpoint of the current trial.

    Args:
        resume_from: Paths or URIs of the last checkpoint in each folder that the trial has had, the newest first. It
            gets a new one each time it continues. The checkpoint with which Ray restarts it takes precedence.
        storage: Path or URI of the search's folder, which holds the frozen parts.

    Returns:
        The checkpoint, or None if the trial must start from the beginning.
    """
    for latest in filter(None, (tune.get_checkpoint(), *map(tune.Checkpoint, resume_from))):
        folder = FileSelector(str(Path(latest.path).parent), allow_not_found=True)
        stored = latest.filesystem.get_file_info(folder)
        for path in sorted((info.path for info in stored if info.path <= latest.path), reverse=True):
            with suppress(CheckpointError):
                return _read(tune.Checkpoint(path, latest.filesystem), storage)
    return None


def _read(stored: tune.Checkpoint, storage: str) -> Checkpoint | FoldCheckpoint:
    try:
        with stored.as_directory() as root:
            folder = Path(root) / FOLDER
            if (folder / MANIFEST).exists():
                return load_fold_checkpoint(folder, lambda model: _load(model, storage))
            return _load(folder, storage)
    except FileNotFoundError as error:  # in a bucket, of the checkpoint or its frozen part
        raise CheckpointError(f"{stored.path} is not a complete checkpoint: {first_line(error)}") from error


def _load(folder: Path, storage: str) -> Checkpoint:
    digest = frozen_digest(folder)
    if digest is None:
        return load_checkpoint(folder)
    with tune.Checkpoint(f"{storage}/{_FROZEN}/{digest}").as_directory() as frozen:
        return load_checkpoint(folder, Path(frozen))


def store_frozen(state: TrainState, prefixes: tuple[str, ...], storage: str) -> FrozenPart:
    """Write the frozen tensors to the search's storage, unless another trial already has.

    Args:
        state: Training state that holds the tensors.
        prefixes: Prefixes of the names of the frozen tensors.
        storage: Path or URI of the search's folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        part = save_frozen(Path(folder) / _FROZEN, state, prefixes)
        (file,) = (Path(folder) / _FROZEN).iterdir()
        target = tune.Checkpoint(f"{storage}/{_FROZEN}/{part.sha256}")  # resolves the file system of a path or URI
        files, final = target.filesystem, f"{target.path}/{file.name}"
        if files.get_file_info(final).type == FileType.NotFound:
            partial = f"{target.path}.{uuid.uuid4().hex}.partial"
            files.create_dir(target.path, recursive=True)
            copy_files(str(file), partial, LocalFileSystem(), files)
            files.move(partial, final)  # a file, since object stores have no folders
    return part
