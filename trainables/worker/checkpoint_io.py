"""Checkpoints of trials on the search's storage: a local path, or a bucket."""

import errno
import tempfile
import uuid
from collections.abc import Iterator
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
    Folded,
    load_folded,
    parse_predictions,
)

FOLDER = "checkpoint"
_FROZEN = "frozen"


class UnwritableError(Exception):
    """The search's storage, or this node's disk, is full or read-only."""


@contextmanager
def writing() -> Iterator[None]:
    """Turns a full or read-only storage into ``UnwritableError``."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise UnwritableError(f"a checkpoint cannot be written: {first_line(error)}") from error


def read_models(location: str) -> tuple[Checkpoint, ...]:
    """Reads what ``run_trial`` wrote at a path or URI, SEARCH/SESSION/TRIAL/CHECKPOINT: a model, or one a fold.

    Raises:
        CheckpointError: It, or the frozen part that it names, is not whole.
    """
    found = _read(tune.Checkpoint(location), storage=location.rsplit("/", 3)[0])
    return found.models if isinstance(found, Folded) else (found,)


def read_out_of_fold(location: str) -> OutOfFold:
    """Reads the predictions of a cross-validated trial's checkpoint, and no model.

    Raises:
        CheckpointError: They are not whole, or there are none.
    """
    stored = tune.Checkpoint(location)
    manifest, predictions = (f"{stored.path}/{FOLDER}/{file}" for file in (MANIFEST, PREDICTIONS))
    try:
        with (
            stored.filesystem.open_input_stream(manifest) as one,
            stored.filesystem.open_input_stream(predictions) as other,
        ):
            return parse_predictions(one.read(), other.read())
    except OSError as error:
        raise CheckpointError(f"{location} has no out-of-fold predictions: {first_line(error)}") from error


def restore(resume_from: str | None, storage: str) -> Checkpoint | Folded | None:
    """The latest whole checkpoint that is kept, up to Ray's own or else the study's; None begins the trial again."""
    latest = tune.get_checkpoint() or (tune.Checkpoint(resume_from) if resume_from else None)
    if latest is None:
        return None
    kept = latest.filesystem.get_file_info(FileSelector(str(Path(latest.path).parent)))
    for path in sorted((info.path for info in kept if info.path <= latest.path), reverse=True):
        with suppress(CheckpointError):
            return _read(tune.Checkpoint(path, latest.filesystem), storage)
    return None


def _read(stored: tune.Checkpoint, storage: str) -> Checkpoint | Folded:
    with stored.as_directory() as root:
        folder = Path(root) / FOLDER
        if (folder / MANIFEST).exists():
            return load_folded(folder, lambda model: _load(model, storage))
        return _load(folder, storage)


def _load(folder: Path, storage: str) -> Checkpoint:
    digest = frozen_digest(folder)
    if digest is None:
        return load_checkpoint(folder)
    with tune.Checkpoint(f"{storage}/{_FROZEN}/{digest}").as_directory() as frozen:
        return load_checkpoint(folder, Path(frozen))


def store_frozen(state: TrainState, prefixes: tuple[str, ...], storage: str) -> FrozenPart:
    """Puts what is frozen onto the search's storage, unless a trial has done so before."""
    with tempfile.TemporaryDirectory() as folder:
        part = save_frozen(Path(folder) / _FROZEN, state, prefixes)
        (file,) = (Path(folder) / _FROZEN).iterdir()
        target = tune.Checkpoint(f"{storage}/{_FROZEN}/{part.sha256}")  # knows the file system of a path or URI
        files, whole = target.filesystem, f"{target.path}/{file.name}"
        if files.get_file_info(whole).type == FileType.NotFound:
            partial = f"{target.path}.{uuid.uuid4().hex}.partial"
            files.create_dir(target.path, recursive=True)
            copy_files(str(file), partial, LocalFileSystem(), files)
            files.move(partial, whole)  # a file, since object stores have no folders; of the same content as another's
    return part
