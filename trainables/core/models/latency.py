"""How long a model takes for one image."""

import statistics
import time

import torch
from torch import nn

_WARM_UP, _TIMED = 5, 50


@torch.inference_mode()
def median_latency_ms(model: nn.Module, image_size: int, channels: int) -> float:
    """The median of 50 forward passes of one image, in milliseconds, on the device that the model is on.

    Other work on that device counts in; the median leaves out what comes and goes.

    Args:
        model: In eval mode; takes (1, image_size, image_size, channels) uint8.
        image_size: Side in pixels.
        channels: 1 or 3.
    """
    device = next(model.parameters()).device
    image = torch.zeros((1, image_size, image_size, channels), dtype=torch.uint8, device=device)

    def timed() -> float:
        started = time.perf_counter()
        model(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the pass is asynchronous, and its end is what is asked for
        return 1000 * (time.perf_counter() - started)

    return statistics.median([timed() for _ in range(_WARM_UP + _TIMED)][_WARM_UP:])
