"""What a trained classifier looks at and what it costs: heat maps, the features that its head gets, latency, size."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.core.models.classifier import Classifier
from trainables.core.models.grouping import ParameterGroup

_BATCH = 64
_RUNS, _WARM_UP = 50, 5
_CUTS = 4  # of the last cuts that have a place for every part of the image


class UnexplainedError(Exception):
    """No heat map can be made of a classifier; the message says why."""


@dataclass(frozen=True)
class Profile:
    """What a classifier costs.

    Attributes:
        parameters: Of backbone and head.
        latency_ms: Of one image, from pixels at hand to probabilities: the median of 50.
        device: Where that was measured, in words.
    """

    parameters: int
    latency_ms: float
    device: str


def profile(model: Classifier, images: NDArray[np.uint8]) -> Profile:
    """Counts parameters and times single images.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8, N at least 1.
    """
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.array(images[:1])).to(device)
    times = []
    with torch.inference_mode():
        for run in range(_WARM_UP + _RUNS):
            began = time.perf_counter()
            model(pixels).softmax(dim=1).cpu()  # to the CPU: waits for the GPU
            if run >= _WARM_UP:
                times.append(time.perf_counter() - began)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Profile(parameters, 1000 * statistics.median(times), device_name(device))


def device_name(device: torch.device) -> str:
    """Like ``NVIDIA H100`` or ``AMD EPYC 7543, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads != 1)}"


@torch.inference_mode()
def penultimate(
    model: Classifier, images: NDArray[np.uint8], indices: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the head gets of images, and what it makes of it.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8.
        indices: (n,) which of them.

    Returns:
        (n, F) float32 features and (n, C) float32 probabilities.
    """
    device = next(model.parameters()).device
    features, probabilities = [torch.empty(0, model.backbone.num_features)], []
    for start in range(0, len(indices), _BATCH):
        pixels = torch.from_numpy(images[indices[start : start + _BATCH]]).to(device)
        batch = model.backbone.rest(model.prefix(pixels))
        features.append(batch.float().cpu())
        probabilities.append(model.head(batch).softmax(dim=1).float().cpu().numpy())
    classes = probabilities[0].shape[1] if probabilities else 0
    return torch.cat(features).numpy(), np.concatenate([np.empty((0, classes), np.float32), *probabilities])


def grad_cam(model: Classifier, images: NDArray[np.uint8], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Heat maps of what speaks for a class (Grad-CAM, Selvaraju et al. 2017).

    The activations are those after the last module of the backbone that still has a place for every part of the image:
    feature maps, or a transformer's tokens on their grid. Where the class does not depend on any of these places (the
    last tokens of a transformer that pools by its class token), those before are taken.

    Args:
        model: In eval mode.
        images: (n, S, S, channels) uint8.
        classes: (n,) the class to explain in each image.

    Returns:
        (n, h, w) float32 from 0 to 1, the largest of each map 1; zeros where nothing speaks for the class.

    Raises:
        UnexplainedError: The backbone has no such activations.
    """
    chain = list(_chain(model.backbone.stages))
    if any(isinstance(module, ParameterGroup) for module in chain):
        raise UnexplainedError("the backbone is of a family that is not cut into stages, so its activations are hidden")
    device = next(model.parameters()).device
    maps = []
    for image, label in zip(images, classes, strict=True):
        pixels = torch.from_numpy(np.array(image[None])).to(device)
        maps.append(_heat(model, chain, pixels, int(label)).cpu().numpy())
    return np.stack(maps).astype(np.float32)


def _heat(model: Classifier, chain: list[nn.Module], pixels: Tensor, label: int) -> Tensor:
    """(h, w) of one image."""
    unfold = _unfolding(model)
    with torch.no_grad():
        places = _places(model, chain, pixels, unfold)
    with torch.enable_grad():
        cuts: list[Tensor] = []
        x = model.normalised(pixels)
        for index, module in enumerate(chain):
            with torch.set_grad_enabled(bool(cuts)):
                x = module(x)
            if index in places:
                cut = x if cuts else x.detach().requires_grad_()
                cuts.append(cut)
                x = cut.clone()  # the next module may work in place
        gradients = torch.autograd.grad(model.head(x)[0, label], cuts, allow_unused=True)
    for cut, gradient in zip(reversed(cuts), reversed(gradients), strict=True):
        if gradient is None:
            continue
        slopes, values = unfold(gradient), unfold(cut.detach())
        if slopes is not None and values is not None and bool(slopes.any()):
            weights = slopes.mean(dim=(2, 3), keepdim=True)
            heat = (weights * values).sum(dim=1)[0].clamp_min(0)
            return heat / heat.max().clamp_min(1e-12)
    raise UnexplainedError("the class depends on no activation that has a place in the image")


def _places(
    model: Classifier, chain: list[nn.Module], pixels: Tensor, unfold: Callable[[Tensor], Tensor | None]
) -> set[int]:
    """The last modules whose output has a place for every part of the image."""
    x, found = model.normalised(pixels), []
    for index, module in enumerate(chain):
        x = module(x)
        if unfold(x) is not None:
            found.append(index)
    if not found:
        raise UnexplainedError("no activation of the backbone has more than one place in an image of this size")
    return set(found[-_CUTS:])


def _chain(modules: nn.Module | nn.ModuleList) -> Iterator[nn.Module]:
    """The modules that run one after the other, each of them on all that the last one gave."""
    for module in modules.children():
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            yield from _chain(module)
        else:
            yield module


def _unfolding(model: Classifier) -> Callable[[Tensor], Tensor | None]:
    """How this backbone's activations are laid out: to (B, D, h, w) with more than one place, or None."""
    embedding = getattr(model.backbone.stages[0], "vit", None)

    def unfold(x: Tensor) -> Tensor | None:
        if x.ndim == 4 and embedding is None:
            return x if x.shape[2] * x.shape[3] > 1 else None
        if x.ndim == 3 and embedding is not None:
            height, width = embedding.patch_embed.grid_size
            tokens = x[:, embedding.num_prefix_tokens :]
            return tokens.transpose(1, 2).unflatten(2, (height, width)) if tokens.shape[1] == height * width else None
        return None

    return unfold


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if named:
            return named[0]
    return platform.processor() or f"{os.cpu_count()} CPUs"
