"""How much of a GPU a trial needs: a share of its memory, and a share of its time."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import memory_errors, required_share, resolve_device
from trainables.core.errors import ConfigError, NonFiniteLossError
from trainables.core.metric_names import Objective
from trainables.worker.steps import epoch_steps, fold_steps

_INTERVAL_MS = 200  # between two readings of nvidia-smi


@dataclass(frozen=True)
class GpuLoad:
    """What a trial takes of a GPU that it has to itself.

    Attributes:
        memory: Share of the memory at the peak, from 0 to 1.
        busy: Share of the time in which the GPU computes, from 0 to 1; None if that is unknown.
    """

    memory: float
    busy: float | None


FULL = GpuLoad(1.0, None)


def measure_loads(configs: Sequence[Mapping[str, Any]], data: Dataset, objective: Objective) -> list[GpuLoad]:
    """Train each configuration for at most two epochs on the GPU that Ray reserved, and measure the last of them.

    In its first epoch, a trial decodes images, computes the outputs of frozen stages, and tries out kernels.

    Args:
        configs: Dicts of ``TrainConfig``.
        data: Data set to train on.
        objective: Metric, or two, to optimise.

    Returns:
        The load of each configuration; ``FULL`` for one that cannot be trained as it is.

    Raises:
        DeviceError: The GPU cannot be used.
    """
    resolve_device("cuda")
    return [_measure(TrainConfig.from_dict({**config, "device": "cuda"}), data, objective) for config in configs]


def _measure(config: TrainConfig, data: Dataset, objective: Objective) -> GpuLoad:
    device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    readings: list[float] = []
    try:
        with memory_errors():
            epochs = (fold_steps if data.folds else epoch_steps)(config, data, objective, None)
            if config.epochs > 1:
                next(epochs)
            with utilization(f"GPU-{torch.cuda.get_device_properties(device).uuid}", readings):
                next(epochs)
    except (NonFiniteLossError, ConfigError, torch.OutOfMemoryError):
        return FULL
    memory = required_share(torch.cuda.max_memory_reserved(device), device)
    return GpuLoad(memory, fmean(readings) if readings else None)


@contextmanager
def utilization(gpu: str, readings: list[float]) -> Iterator[None]:
    """Add readings of ``nvidia-smi`` to a list: the share of the last moment in which the GPU computed, from 0 to 1.

    The list stays empty if ``nvidia-smi`` is missing, fails, or does not know (a part of a GPU, for example).

    Args:
        gpu: UUID of the GPU. Its number would be ambiguous: ``nvidia-smi`` and CUDA count in different orders.
        readings: List to extend.
    """
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(
            [*query, "-i", gpu, f"--loop-ms={_INTERVAL_MS}"],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        yield
        return
    try:
        yield
    finally:
        process.terminate()
        lines = process.communicate()[0].splitlines()
    readings += [int(line) / 100 for line in map(str.strip, lines) if line.isdecimal()]
