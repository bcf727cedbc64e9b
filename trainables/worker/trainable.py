"""The Ray trainable of a search, with the only loop that reports and checkpoints.

If a batch does not fit into the GPU's memory, the trial continues with half the batch at a time.
"""

import faulthandler
import gc
import logging
import math
import socket
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import limit_memory, memory_errors, resolve_device, share_of_others
from trainables.core.errors import (
    ConfigError,
    DeviceError,
    GpuTakenError,
    NonFiniteLossError,
    WeightsError,
    describe,
    first_line,
)
from trainables.core.metric_names import Objective
from trainables.core.models.checkpoints.checkpoint import Checkpoint, FrozenPart
from trainables.core.models.networks.build import check_batch_size
from trainables.core.plural import plural
from trainables.core.training.fold_checkpoint import FoldCheckpoint
from trainables.worker.checkpoint_io import FOLDER, UnwritableError, restore, storage_errors, store_frozen
from trainables.worker.node_requirements import NodeRequirements, missing_requirements
from trainables.worker.report_keys import FAILED, HALVED, UNFIT
from trainables.worker.steps import Step, epoch_steps, fold_steps

logger = logging.getLogger("trainables")
_MUCH_MEMORY = 0.05  # share of a GPU's memory; what CUDA takes in this process is only known roughly


def run_trial(
    trial: dict[str, Any],
    data: Dataset,
    objective: Objective,
    storage: str,
    timeout_s: float,
    requirements: NodeRequirements | None = None,
    devices: int = 1,
) -> None:
    """Train one configuration; report and checkpoint after every epoch, or after every fold if the data has folds.

    Args:
        trial: ``train`` (the dict of a ``TrainConfig``) and ``resume_from`` (see ``restore``).
        data: Data set to train on.
        objective: Metric, or two, to optimise.
        storage: Path or URI of the search's folder, where frozen parts are stored.
        timeout_s: Time limit of an epoch in seconds. After it this process ends, and Ray retries the trial.
        requirements: Requirements of the driver, to check on a node that may have joined later. None if only the
            driver's own node exists.
        devices: Number of devices that train the trial together: its GPUs, or processes on the CPU.

    Reports:
        ``epoch`` (the fold of a cross-validated trial), ``train/...``, ``tune/...``, ``epoch_seconds``, ``best_epoch``,
        ``best_<metric>``, and ``best_...`` of the metrics with ``at_best_epoch``.
        ``HALVED``, in one of these reports, if the GPU's memory was too small for a batch and the trial continued with
        a smaller one.
        ``FAILED``, in a last report of its own, if the configuration cannot be trained; ``UNFIT``, likewise, if this
        node does not meet the requirements, if its GPU cannot be used or has no memory left for a trial that reserved
        all of it, or if a disk is full or read-only.

    Raises:
        GpuTakenError: The memory is too small even for the smallest batch, but other processes hold a part of it that
            the trial has reserved.
        torch.OutOfMemoryError: The memory is too small even for the smallest batch, but the trial has only a share of
            the GPU.
        RankError: The process of another device failed or died.
        HubError: Pretrained weights cannot be downloaded.
    """
    missing = _missing_requirements(requirements) if requirements else ()
    if missing:
        tune.report({UNFIT: "; ".join(missing), f"best_{objective.metric}": math.nan})
        return
    _set_up_process()
    torch.set_num_threads(max(1, int(_reserved("CPU")) // devices))
    try:
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        config = TrainConfig.from_dict({**trial["train"], "device": _own_device().type})
        _train(config, _Run(data, objective, storage, timeout_s, trial["resume_from"], devices))
    except (NonFiniteLossError, ConfigError, WeightsError, torch.OutOfMemoryError) as error:  # would fail on any node
        _release(error)
        if isinstance(error, torch.OutOfMemoryError):
            _blame_others(error, devices)  # then Tune retries the trial wherever there is room
        tune.report({FAILED: describe(error), f"best_{objective.metric}": math.nan})
    except (UnwritableError, DeviceError) as error:  # the next trial would fail on this node, too
        _release(error)
        tune.report({UNFIT: f"{socket.gethostname()}: {first_line(error)}", f"best_{objective.metric}": math.nan})
    except BaseException as error:
        _release(error)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        _free_memory()  # this process runs further trials and may share its GPU


def _own_device() -> torch.device:
    """Return the device that Ray reserved for this trial, with its memory limited to the trial's share.

    Raises:
        DeviceError: It cannot be used, or all of it is reserved but other processes have taken its memory.
        GpuTakenError: Only a share is reserved, but other processes have taken all of the memory.
    """
    share = _reserved("GPU")
    try:
        device = resolve_device("cuda" if ray.get_gpu_ids() else "cpu")
        limit_memory(device, share)
    except torch.OutOfMemoryError as error:
        if share < 1:
            raise _taken(1.0) from error
        raise DeviceError(
            "a trial needs its GPU's memory, but other processes have taken it (nvidia-smi lists them): end them"
        ) from error
    return device


@dataclass(frozen=True)
class _Run:
    """Arguments of ``run_trial`` apart from the configuration."""

    data: Dataset
    objective: Objective
    storage: str
    timeout_s: float
    resume_from: Sequence[str]
    devices: int


def _train(config: TrainConfig, run: _Run) -> None:
    """Train the rest of a trial, with half the batch at a time whenever the GPU's memory is too small.

    Raises:
        torch.OutOfMemoryError: The memory is too small for the smallest batch.
    """
    note: str | None = None
    smaller: TrainConfig | None = None
    while True:
        before = restore(run.resume_from, run.storage)
        config = smaller or config.for_devices(run.devices, _largest_batch(config, before, run.devices))
        try:
            with memory_errors():
                return _report_steps(config, run, before, note)
        except torch.OutOfMemoryError as error:
            smaller = _with_half_batch(config)
            if smaller is None:
                raise
            note = f"{describe(error)} (continued with {plural(smaller.batch_size, 'image')} at a time)"
            _release(error)
        _free_memory()


def _with_half_batch(config: TrainConfig) -> TrainConfig | None:
    """Return the configuration with half the batch, or None if it cannot be halved or the network needs more images."""
    smaller = config.with_half_batch()
    if smaller is not None:
        try:
            check_batch_size(smaller)
        except ConfigError:
            return None
    return smaller


def _report_steps(
    config: TrainConfig, run: _Run, before: Checkpoint | FoldCheckpoint | None, note: str | None = None
) -> None:
    """Train from a checkpoint to the end. The first report includes the note, if there is one."""
    frozen: FrozenPart | None = None
    extra: dict[str, Any] = {HALVED: note} if note else {}
    for step in _steps(config, run, before):
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # restart the timer for the report
        if step is None:  # an epoch of a fold
            continue
        if config.frozen and frozen is None:
            with storage_errors():
                frozen = store_frozen(step.state, config.frozen, run.storage)
        with tempfile.TemporaryDirectory() as folder, storage_errors():
            step.save(Path(folder) / FOLDER, frozen)
            tune.report({**step.report, **extra}, checkpoint=tune.Checkpoint.from_directory(folder))
        extra = {}
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # restart the timer for the next epoch


def _largest_batch(config: TrainConfig, before: Checkpoint | FoldCheckpoint | None, devices: int) -> int | None:
    """Return the checkpoint's batch size if it had been halved for lack of memory, else None.

    Checkpoints of earlier versions do not say how many devices shared the batch: they are taken to be as many as now.
    """
    if before is None:
        return None
    model = before.models[-1] if isinstance(before, FoldCheckpoint) else before
    trained = model.config.batch_size
    return trained if trained < config.for_devices(model.devices or devices).batch_size else None


def _steps(config: TrainConfig, run: _Run, before: Checkpoint | FoldCheckpoint | None) -> Iterator[Step | None]:
    if isinstance(before, FoldCheckpoint):
        return fold_steps(config, run.data, run.objective, before, run.devices)
    if before is None and run.data.folds:
        return fold_steps(config, run.data, run.objective, None, run.devices)
    return epoch_steps(config, run.data, run.objective, before, run.devices)


_missing_requirements = cache(missing_requirements)  # check once per process


@cache
def _set_up_process() -> None:
    """Prepare a worker process for its first trial."""
    gc.freeze()  # exempts imported modules from the garbage collection after every trial
    logging.getLogger("trainables").setLevel(logging.INFO)  # log automatic decisions in the worker's log


def _release(error: BaseException) -> None:
    """Clear the frames of an error and its causes: they hold the model, and Ray holds on to the error."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


def _free_memory() -> None:
    gc.collect()
    try:
        torch.cuda.empty_cache()  # does nothing in a process that has not used a GPU
    except RuntimeError as error:  # after some CUDA errors every call fails; it must not hide the trial's own error
        logger.warning("the GPU's memory cannot be freed: %s", first_line(error))


def _blame_others(error: torch.OutOfMemoryError, devices: int) -> None:
    """Raise if a trial may have run out of memory because of other processes on its GPUs.

    Raises:
        GpuTakenError: They hold memory that the trial has reserved.
        torch.OutOfMemoryError: The trial has only a share of the GPU.
    """
    share, others = _reserved("GPU"), share_of_others(devices)
    if others > max(0.0, 1 - share) + _MUCH_MEMORY:
        raise _taken(others) from error
    if 0 < share < 1:
        raise error


def _taken(others: float) -> GpuTakenError:
    host = f"'{socket.gethostname()}'"  # in quotes, so that failures on several hosts count as alike
    return GpuTakenError(
        f"a trial needs the GPU memory that it has reserved, but other processes hold {others:.0%} of a GPU of {host} "
        "(nvidia-smi lists them): end them"
    )


def _reserved(resource: str) -> float:
    """Return the amount of ``CPU`` or ``GPU`` that is reserved for this trial."""
    resources = tune.get_context().get_trial_resources()
    return float(resources.required_resources.get(resource, 0)) if resources else 0.0
