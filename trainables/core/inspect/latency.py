"""What a trained network costs: parameters, and the time that one image takes."""

import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.models.networks.base import PixelNetwork

_RUNS, _WARM_UP = 50, 5
_SECONDS, _LEAST_RUNS = 5.0, 5  # a large network on a CPU is not run so often


@dataclass(frozen=True)
class Profile:
    """What a network costs.

    Attributes:
        parameters: Of all of it.
        latency_ms: Of one image, from pixels at hand to probabilities: the median of 50, or of as many as 5 s
            allow.
        device: Where that was measured, in words.
    """

    parameters: int
    latency_ms: float
    device: str


def profile(model: PixelNetwork, images: NDArray[np.uint8]) -> Profile:
    """Counts parameters and times single images.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8, N at least 1.
    """
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.array(images[:1])).to(device)
    times: list[float] = []
    with torch.inference_mode():
        for run in range(_WARM_UP + _RUNS):
            began = time.perf_counter()
            model(pixels).softmax(dim=1).cpu()  # to the CPU: waits for the GPU
            if run >= _WARM_UP:
                times.append(time.perf_counter() - began)
            if len(times) >= _LEAST_RUNS and sum(times) > _SECONDS:
                break
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Profile(parameters, 1000 * statistics.median(times), device_name(device))


def device_name(device: torch.device) -> str:
    """Like ``NVIDIA H100`` or ``AMD EPYC 7543, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads != 1)}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if named:
            return named[0]
    return platform.processor() or f"{os.cpu_count()} CPUs"
