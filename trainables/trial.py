"""The Ray trainable of a search, and the only report loop there is."""

import dataclasses
import errno
import faulthandler
import gc
import logging
import math
import tempfile
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray
import torch
from pyarrow.fs import FileSelector, FileType, LocalFileSystem, copy_files
from ray import tune

from trainables.core.checkpoint import Checkpoint, FrozenPart, frozen_digest, load_checkpoint, save_frozen
from trainables.core.config import TrainConfig
from trainables.core.cross_validation import OutOfFold
from trainables.core.data.cache import Dataset
from trainables.core.errors import CheckpointError, ConfigError, NonFiniteLossError, describe, first_line
from trainables.core.folded import MANIFEST, PREDICTIONS, Folded, load_folded, parse_predictions
from trainables.core.state import TrainState
from trainables.node import Demands, lacks
from trainables.steps import epoch_steps, fold_steps

# Reported, with the error's line, by a trial that fails in a way that trying again cannot mend.
FAILED = "failed"
# Reported once, with the error's line, by a trial that went on with a smaller micro-batch.
HALVED = "halved"
# Reported, with a line that says why, where the node cannot run trials, or the storage takes no more: not the trial's
# fault.
UNFIT = "unfit"
# By this Ray keeps a trial's best checkpoint beside its last: the epoch where it is the best so far, else 0.
CHECKPOINT_RANK = "checkpoint_rank"
_FOLDER, _FROZEN = "checkpoint", "frozen"


def run_trial(
    trial: dict[str, Any],
    data: Dataset,
    metric: str,
    storage: str,
    timeout_s: float,
    second: str | None = None,
    demands: Demands | None = None,
) -> None:
    """Trains one configuration, reporting and checkpointing after every epoch, or fold where the data has folds.

    Args:
        trial: ``train`` (the dict of a ``TrainConfig``) and ``resume_from`` (a checkpoint's path or URI, or None).
            Ray's own checkpoint of this trial, where it restarts one, goes first.
        data: What to train on.
        metric: The objective, a bare name.
        storage: Path or URI of the search's folder, where frozen parts are stored.
        timeout_s: An epoch that takes longer ends this process; Ray then tries the trial again elsewhere.
        second: Another objective that is looked for at the same time, or None.
        demands: Of the driver on a node that may have come since it began; None where there is the driver's own alone.

    Reports:
        ``epoch`` (the fold, where it is cross-validated), ``train/...``, ``tune/...``, ``epoch_seconds``,
        ``best_epoch``, ``best_<metric>`` and the figures of ``BEST_METRICS`` at the best epoch; ``HALVED``, once,
        where the GPU's memory was too small for the batch and the trial went on with half of it at a time; or
        ``FAILED``, once, where the configuration cannot be trained; or ``UNFIT``, once, where this node lacks what the
        driver demands, or a disk is full or read-only.
    """
    lacking = _lacking(demands) if demands else ()
    if lacking:
        tune.report({UNFIT: "; ".join(lacking), f"best_{metric}": math.nan})
        return
    _settle_process()
    torch.set_num_threads(max(1, int(_reserved_cpus())))
    try:
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        config = TrainConfig.from_dict({**trial["train"], "device": "cuda" if ray.get_gpu_ids() else "cpu"})
        run = _Run(data, metric, storage, timeout_s, trial["resume_from"], second)
        try:
            _report_epochs(config, run)
        except torch.OutOfMemoryError as error:
            if config.batch_size % 2:
                raise
            smaller = dataclasses.replace(
                config, batch_size=config.batch_size // 2, accumulate_steps=config.accumulate_steps * 2
            )
            note = f"{describe(error)} (went on with {smaller.batch_size} images at a time)"
            traceback.clear_frames(error.__traceback__)  # they hold the model
            _free_memory()
            _report_epochs(smaller, run, note)
    except (NonFiniteLossError, ConfigError, torch.OutOfMemoryError) as error:  # on another node it would end the same
        traceback.clear_frames(error.__traceback__)
        tune.report({FAILED: describe(error), f"best_{metric}": math.nan})
    except _UnwritableError as error:
        traceback.clear_frames(error.__traceback__)
        tune.report({UNFIT: first_line(error), f"best_{metric}": math.nan})
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model until Ray has passed the error on
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        _free_memory()  # the process lives on and may share its GPU


@dataclass(frozen=True)
class _Run:
    """What ``run_trial`` was given beside the configuration."""

    data: Dataset
    metric: str
    storage: str
    timeout_s: float
    resume_from: str | None
    second: str | None


def _report_epochs(config: TrainConfig, run: _Run, note: str | None = None) -> None:
    """Trains what remains of a trial; its first report carries the note, if there is one."""
    before = _restore(run.resume_from, run.storage)
    trained = before.models[-1].config if isinstance(before, Folded) else before.config if before else config
    if trained.batch_size < config.batch_size:  # it had run out of memory, and would again
        config = dataclasses.replace(trained, device=config.device)
    if isinstance(before, Folded) or (before is None and run.data.folds):
        steps = fold_steps(config, run.data, run.metric, before, run.second)
    else:
        steps = epoch_steps(config, run.data, run.metric, before, run.second)
    frozen: FrozenPart | None = None
    extra: dict[str, Any] = {HALVED: note} if note else {}
    for step in steps:
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # armed anew: so has the report its own time
        if step is None:  # an epoch of a fold
            continue
        if config.frozen and frozen is None:
            with _writing():
                frozen = _store_frozen(step.state, config.frozen, run.storage)
        with tempfile.TemporaryDirectory() as folder, _writing():
            step.save(Path(folder) / _FOLDER, frozen)
            reported = {"epoch": step.number, **step.figures, **extra, CHECKPOINT_RANK: step.rank}
            tune.report(reported, checkpoint=tune.Checkpoint.from_directory(folder))
        extra = {}
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # and the next epoch


class _UnwritableError(Exception):
    """The search's storage, or this node's disk, is full or read-only."""


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise _UnwritableError(f"a checkpoint cannot be written: {first_line(error)}") from error


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
    manifest, predictions = (f"{stored.path}/{_FOLDER}/{file}" for file in (MANIFEST, PREDICTIONS))
    try:
        with (
            stored.filesystem.open_input_stream(manifest) as one,
            stored.filesystem.open_input_stream(predictions) as other,
        ):
            return parse_predictions(one.read(), other.read())
    except OSError as error:
        raise CheckpointError(f"{location} has no out-of-fold predictions: {first_line(error)}") from error


def _restore(resume_from: str | None, storage: str) -> Checkpoint | Folded | None:
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
        folder = Path(root) / _FOLDER
        if (folder / MANIFEST).exists():
            return load_folded(folder, lambda model: _load(model, storage))
        return _load(folder, storage)


def _load(folder: Path, storage: str) -> Checkpoint:
    digest = frozen_digest(folder)
    if digest is None:
        return load_checkpoint(folder)
    with tune.Checkpoint(f"{storage}/{_FROZEN}/{digest}").as_directory() as frozen:
        return load_checkpoint(folder, Path(frozen))


def _store_frozen(state: TrainState, prefixes: tuple[str, ...], storage: str) -> FrozenPart:
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


_lacking = cache(lacks)  # a process looks once


@cache
def _settle_process() -> None:
    """What a worker does before its first trial."""
    gc.freeze()  # imported modules need not be searched for garbage at the end of every trial
    logging.getLogger("trainables").setLevel(logging.INFO)  # what was decided goes into the worker's log


def _free_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _reserved_cpus() -> float:
    resources = tune.get_context().get_trial_resources()
    return float(resources.head_cpus) if resources else 1.0
