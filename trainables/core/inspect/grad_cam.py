"""Heat maps of the evidence for a class (Grad-CAM, Selvaraju et al. 2017)."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.core.models.backbones.parameter_groups import ParameterGroup
from trainables.core.models.networks.classifier import Classifier

_MAX_LAYERS = 4  # of the last spatial layers, how many are tried


class UnexplainedError(Exception):
    """No heat map can be computed for a classifier; the message says why."""


def grad_cam(model: Classifier, images: NDArray[np.uint8], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Compute heat maps of the evidence for one class per image.

    Uses the last spatial layer of the backbone, that is, the last module whose output is a feature map or a
    transformer's tokens on their grid. If the class does not depend on that output, as with the last tokens of a
    transformer that pools by its class token, uses the spatial layer before it.

    Args:
        model: Classifier in eval mode.
        images: (n, S, S, channels) uint8 images.
        classes: (n,) class to explain in each image.

    Returns:
        (n, h, w) float32 maps in [0, 1]. The maximum of each map is 1; a map without evidence for the class is zero.

    Raises:
        UnexplainedError: The backbone has no such layer.
    """
    chain = list(_chain(model.backbone.stages))
    if any(isinstance(module, ParameterGroup) for module in chain):
        raise UnexplainedError("the backbone is of a family that is not cut into stages, so its activations are hidden")
    device = next(model.parameters()).device
    maps = []
    for image, label in zip(images, classes, strict=True):
        pixels = torch.from_numpy(np.array(image[None])).to(device)
        maps.append(_heat_map(model, chain, pixels, int(label)).cpu().numpy())
    return np.stack(maps).astype(np.float32)


def _heat_map(model: Classifier, chain: list[nn.Module], pixels: Tensor, label: int) -> Tensor:
    """Return the (h, w) heat map of one image."""
    to_grid = _grid_layout(model)
    with torch.no_grad():
        layers = _spatial_layers(model, chain, pixels, to_grid)
    with torch.enable_grad():
        outputs: list[Tensor] = []
        x = model.normalised(pixels)
        for index, module in enumerate(chain):
            with torch.set_grad_enabled(bool(outputs)):
                x = module(x)
            if index in layers:
                output = x if outputs else x.detach().requires_grad_()
                outputs.append(output)
                x = output.clone()  # the next module may work in place
        gradients = torch.autograd.grad(model.head(x)[0, label], outputs, materialize_grads=True, allow_unused=True)
    for output, gradient in zip(reversed(outputs), reversed(gradients), strict=True):
        slopes, values = to_grid(gradient), to_grid(output.detach())
        if slopes is not None and values is not None and bool(slopes.any()):
            weights = slopes.mean(dim=(2, 3), keepdim=True)
            heat = (weights * values).sum(dim=1)[0].clamp_min(0)
            return heat / heat.max().clamp_min(1e-12)
    raise UnexplainedError("the class depends on no spatial activation of the backbone")


def _spatial_layers(
    model: Classifier, chain: list[nn.Module], pixels: Tensor, to_grid: Callable[[Tensor], Tensor | None]
) -> set[int]:
    """Return the indices of the last modules whose output has a grid of several places in the image."""
    x, spatial = model.normalised(pixels), []
    for index, module in enumerate(chain):
        x = module(x)
        if to_grid(x) is not None:
            spatial.append(index)
    if not spatial:
        raise UnexplainedError("no activation of the backbone has more than one place in an image of this size")
    return set(spatial[-_MAX_LAYERS:])


def _chain(modules: nn.Module | nn.ModuleList) -> Iterator[nn.Module]:
    """Yield the modules that run one after the other, with plain ``nn.Sequential`` containers unpacked."""
    for module in modules.children():
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            yield from _chain(module)
        else:
            yield module


def _grid_layout(model: Classifier) -> Callable[[Tensor], Tensor | None]:
    """Return a function from activations to (B, D, h, w) with more than one place, or to None for other shapes."""
    embedding = getattr(model.backbone.stages[0], "vit", None)

    def to_grid(x: Tensor) -> Tensor | None:
        if x.ndim == 4 and embedding is None:
            return x if x.shape[2] * x.shape[3] > 1 else None
        if x.ndim == 3 and embedding is not None:
            height, width = embedding.patch_embed.grid_size
            tokens = x[:, embedding.num_prefix_tokens :]
            if tokens.shape[1] != height * width:
                return None
            return tokens.transpose(1, 2).reshape(len(x), -1, height, width)
        return None

    return to_grid
