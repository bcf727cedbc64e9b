"""Masks by trained segmenters, alone and averaged: a batch of images in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.pixel_predictions import pixel_counts, pixel_probabilities, predicted_masks
from trainables.core.models.networks.segmenter import Segmenter

_BATCH = 16


def trained_segmenter(checkpoint: Checkpoint, device: torch.device) -> Segmenter:
    """The segmenter of a checkpoint in eval mode; no weights are needed from elsewhere."""
    model = trained_network(checkpoint, device)
    assert isinstance(model, Segmenter)
    return model


@torch.inference_mode()
def predict_pixels(model: Segmenter, pixels: NDArray[np.uint8]) -> Tensor:
    """(B, 1, S, S) or (B, 1 + C, S, S) float32 probabilities of (B, S, S, channels) images, on the model's device."""
    device = next(model.parameters()).device
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        return pixel_probabilities(model(torch.from_numpy(np.ascontiguousarray(pixels)).to(device)))


@dataclass(frozen=True)
class MaskQuestion:
    """Of which images a segmenter's masks are wanted: (m,) indices, few, because all of them are held."""

    images: NDArray[np.int64]


@dataclass(frozen=True)
class MaskAnswer:
    """What a segmenter makes of images: (m, 1, S, S) or (m, 1 + C, S, S) float32 probabilities of their pixels."""

    probabilities: NDArray[np.float32]


def look_at_masks(model: Segmenter, images: NDArray[np.uint8], question: MaskQuestion) -> MaskAnswer:
    """Answers a question about (N, S, S, channels) uint8 images."""
    return MaskAnswer(predict_pixels(model, images[question.images]).cpu().numpy())


def count_pixels(
    models: Sequence[Segmenter],
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    indices: NDArray[np.int64],
    num_classes: int,
) -> NDArray[np.float64]:
    """Counts pixels of every model alone, and of the means of the first ones.

    Args:
        models: M, in eval mode, best first.
        images: (N, S, S, channels) uint8.
        masks: (N, S, S) uint8, the truth.
        indices: (n,) which of them.
        num_classes: C.

    Returns:
        (2M - 1, n, 3C): ``pixel_counts`` in a row an image; of the M models, then of the means of the first 2, ..., M.
    """
    parts = []
    for start in range(0, len(indices), _BATCH):
        chosen = indices[start : start + _BATCH]
        pixels, truth = images[chosen], torch.from_numpy(masks[chosen])
        alone, together = [], []
        total: Tensor | None = None
        for position, model in enumerate(models, 1):
            probabilities = predict_pixels(model, pixels)
            total = probabilities if total is None else total + probabilities
            truth = truth.to(total.device)
            alone.append(pixel_counts(predicted_masks(probabilities), truth, num_classes))
            if position > 1:
                together.append(pixel_counts(predicted_masks(total / position), truth, num_classes))
        parts.append(torch.stack([*alone, *together]).flatten(start_dim=2).cpu())
    counts: NDArray[np.float64] = torch.cat(parts, dim=1).double().numpy()
    return counts
