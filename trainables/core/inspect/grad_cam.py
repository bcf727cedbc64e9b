"""What a trained classifier looks at: heat maps, and the features that its head gets."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.core.models.backbones.uncut import ParameterGroup
from trainables.core.models.networks.classifier import Classifier

_BATCH = 64
_CUTS = 4  # of the last cuts that have a place for every part of the image


class UnexplainedError(Exception):
    """No heat map can be made of a classifier; the message says why."""


@dataclass(frozen=True)
class Question:
    """What to look at in a classifier.

    Attributes:
        seen: (n,) images whose features are wanted, the most wanted first.
        mapped: (m,) images whose heat maps are wanted.
        classes: (m,) the class to explain in each of them.
        seconds: What features may cost; those of the images that come last are left out.
    """

    seen: NDArray[np.int64]
    mapped: NDArray[np.int64]
    classes: NDArray[np.int64]
    seconds: float = 20.0


@dataclass(frozen=True)
class Answer:
    """What was seen in a classifier.

    Attributes:
        features: (k, F) float32: what the head gets of the first k images that were asked for.
        probabilities: (k, C) float32, of these images as they are.
        maps: (m, h, w) float32 in [0, 1], or None.
        why_no_maps: Why there are none.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    why_no_maps: str = ""


def look(model: Classifier, images: NDArray[np.uint8], question: Question) -> Answer:
    """Answers a question about (N, S, S, channels) uint8 images; the model must be in eval mode."""
    features, probabilities = penultimate(model, images, question.seen, question.seconds)
    if not len(question.mapped):
        return Answer(features, probabilities, None, "no image was chosen for one")
    try:
        maps = grad_cam(model, images[question.mapped], question.classes)
    except UnexplainedError as error:
        return Answer(features, probabilities, None, str(error))
    return Answer(features, probabilities, maps)


@torch.inference_mode()
def penultimate(
    model: Classifier, images: NDArray[np.uint8], indices: NDArray[np.int64], seconds: float = math.inf
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the head gets of images, and what it makes of it.

    Args:
        model: In eval mode.
        images: (N, S, S, channels) uint8.
        indices: (n,) which of them.
        seconds: After so long no further batch is begun.

    Returns:
        (k, F) float32 features and (k, C) float32 probabilities of the first k; all n of them if there is time.
    """
    device = next(model.parameters()).device
    features, probabilities = [torch.empty(0, model.backbone.num_features)], []
    until = time.monotonic() + seconds
    for start in range(0, len(indices), _BATCH):
        if start and time.monotonic() > until:
            break
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
        gradients = torch.autograd.grad(model.head(x)[0, label], cuts, materialize_grads=True, allow_unused=True)
    for cut, gradient in zip(reversed(cuts), reversed(gradients), strict=True):
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
            if tokens.shape[1] != height * width:
                return None
            return tokens.transpose(1, 2).reshape(len(x), -1, height, width)
        return None

    return unfold
