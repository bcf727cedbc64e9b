"""Costs of a trained network: number of parameters, and latency of a single image."""

import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.device import exact_float32
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.plural import plural

_RUNS, _WARM_UP = 50, 5
_SECONDS, _MIN_RUNS = 5.0, 5  # time limit for large networks on a CPU, and the runs that are made even so


@dataclass(frozen=True)
class Profile:
    """Costs of a network.

    Attributes:
        parameters: Number of parameters.
        latency_ms: Median time for one image, from pixels to probabilities, in milliseconds. The median is over 50
            runs, or as many as fit into 5 s.
        device: Name of the device that it was measured on.
    """

    parameters: int
    latency_ms: float
    device: str


def profile(model: PixelNetwork, images: NDArray[np.uint8]) -> Profile:
    """Count parameters and measure the latency of a single image, in the precision in which models are served.

    Args:
        model: Network in eval mode.
        images: (N, S, S, channels) uint8 images, N at least 1.
    """
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.array(images[:1])).to(device)
    times: list[float] = []
    with torch.inference_mode(), exact_float32():
        for run in range(_WARM_UP + _RUNS):
            start = time.perf_counter()
            model(pixels).softmax(dim=1).cpu()  # copying to the CPU waits for the GPU
            if run >= _WARM_UP:
                times.append(time.perf_counter() - start)
            if len(times) >= _MIN_RUNS and sum(times) > _SECONDS:
                break
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Profile(parameters, 1000 * statistics.median(times), device_name(device))


def device_name(device: torch.device) -> str:
    """Return a name like ``NVIDIA H100`` or ``AMD EPYC 7543, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {plural(threads, 'thread')}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or plural(os.cpu_count() or 1, "CPU")
