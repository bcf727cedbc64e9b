"""Measurement of the memory and the time that a trial needs of a GPU."""

import faulthandler
import gc
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import limit_memory, memory_errors, required_share, resolve_device
from trainables.core.errors import ConfigError, NonFiniteLossError, UserError, WeightsError, describe
from trainables.core.metric_names import Objective
from trainables.worker.node_requirements import NodeRequirements, missing_requirements
from trainables.worker.steps import Step, epoch_steps, fold_steps

_READ_EVERY_MS = 200
_LONG_ENOUGH_S = 5.0  # for some 25 readings
# Shares of a GPU's memory to measure in, until one suffices. With more memory, a trial moves more images to the GPU and
# keeps more for reuse, so the peak on a whole GPU is not what it needs.
_SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)


@dataclass(frozen=True)
class GpuLoad:
    """Share that a trial takes of a GPU which it has to itself.

    Attributes:
        memory: Share of the memory at the peak, from 0 to 1.
        busy: Share of the time in which the GPU computes, from 0 to 1; None if that is unknown.
        failure: The reason if the configuration does not fit on a whole GPU, or cannot be trained.
    """

    memory: float
    busy: float | None
    failure: str | None = None


def measure_load(
    train: Mapping[str, Any],
    data: Dataset,
    objective: Objective,
    timeout_s: float,
    requirements: NodeRequirements | None,
) -> GpuLoad:
    """Train a configuration on the GPU that Ray reserved for this process, which has not used it before.

    The time is measured after the first epoch, in which a trial decodes images, computes the outputs of frozen stages,
    and tries out kernels: for 5 seconds or longer, unless the trial ends before. The memory is the peak of all epochs,
    in an eighth of the GPU's memory, or in a quarter, a half, or all of it if the trial does not fit otherwise.

    Args:
        train: Dict of a ``TrainConfig``.
        data: Data set to train on.
        objective: Metric, or two, to optimise.
        timeout_s: Time limit of an epoch in seconds. After it this process ends.
        requirements: Requirements of the driver, as for ``run_trial``.

    Raises:
        DeviceError: The GPU cannot be used.
        UserError: This node does not meet the requirements.
    """
    missing = missing_requirements(requirements) if requirements else ()
    if missing:
        raise UserError("; ".join(missing))
    device = resolve_device("cuda")
    config = TrainConfig.from_dict({**train, "device": "cuda"})
    try:
        for share in _SHARES:
            limit_memory(device, share)
            torch.cuda.reset_peak_memory_stats(device)
            try:
                with memory_errors():
                    return _measure(config, data, objective, timeout_s, device)
            except torch.OutOfMemoryError as error:
                failure = describe(error)
            gc.collect()
            torch.cuda.empty_cache()
    except (ConfigError, WeightsError) as error:
        failure = describe(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return GpuLoad(1.0, None, failure)


def _measure(
    config: TrainConfig, data: Dataset, objective: Objective, timeout_s: float, device: torch.device
) -> GpuLoad:
    """Train within the memory that this process may take."""
    readings: list[float] = []
    with suppress(NonFiniteLossError):  # its memory is known, and other trials tell the time
        epochs = _epochs(config, data, objective, timeout_s)
        if config.epochs > 1:
            next(epochs)
        with utilization(f"GPU-{torch.cuda.get_device_properties(device).uuid}", readings):
            started = time.monotonic()
            for _ in epochs:
                if time.monotonic() - started >= _LONG_ENOUGH_S:
                    break
    memory = required_share(torch.cuda.max_memory_reserved(device), device)
    return GpuLoad(memory, fmean(readings) if readings else None)


def _epochs(config: TrainConfig, data: Dataset, objective: Objective, timeout_s: float) -> Iterator[Step | None]:
    """Train as a trial does. A hang ends the process."""
    faulthandler.dump_traceback_later(timeout_s, exit=True)
    for step in (fold_steps if data.folds else epoch_steps)(config, data, objective, None):
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        yield step


@contextmanager
def utilization(gpu: str, readings: list[float]) -> Iterator[None]:
    """Add readings of ``nvidia-smi`` to a list: shares of the time in which the GPU computed, from 0 to 1.

    The block begins after the first reading, which is left out. The list stays empty if ``nvidia-smi`` is missing or
    fails, or if it cannot tell, for example for a part of a GPU.

    Args:
        gpu: UUID of the GPU. Its number would be ambiguous: ``nvidia-smi`` and CUDA count in different orders.
        readings: List to extend.
    """
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(
            [*query, "-i", gpu, f"--loop-ms={_READ_EVERY_MS}"],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        yield
        return
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.terminate()
        lines = process.communicate()[0].splitlines()
    readings += [int(line) / 100 for line in map(str.strip, lines) if line.isdecimal()]
