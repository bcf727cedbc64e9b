"""Pixel probabilities and pixel counts of trained segmenters, with one batch of images in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.device import exact_float32, halve_until_it_fits
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.pixel_predictions import pixel_counts, pixel_probabilities, predicted_masks
from trainables.core.models.networks.segmenter import Segmenter

_BATCH = 16


def trained_segmenter(checkpoint: Checkpoint, device: torch.device) -> Segmenter:
    """Build the segmenter of a checkpoint, in eval mode. The checkpoint holds all weights that it needs."""
    model = trained_network(checkpoint, device)
    assert isinstance(model, Segmenter)
    return model


def predict_pixels(model: PixelNetwork, pixels: NDArray[np.uint8]) -> Tensor:
    """Return the pixel probabilities of ``predict_pixels_with_features``."""
    return predict_pixels_with_features(model, pixels)[0]


@torch.inference_mode()
def predict_pixels_with_features(model: PixelNetwork, pixels: NDArray[np.uint8]) -> tuple[Tensor, NDArray[np.float32]]:
    """Predict pixel probabilities of (B, S, S, channels) images, in float32 on the model's device.

    Returns:
        (B, 1, S, S) for a single class, else (B, 1 + C, S, S) with the background first; and (B, F) float32 features.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is too small for a single image.
    """
    device = next(model.parameters()).device

    def predict(batch: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        features, logits = model.features_and_logits(torch.from_numpy(np.ascontiguousarray(batch)).to(device))
        return pixel_probabilities(logits), features.float().cpu()

    def predict_all(size: int) -> tuple[Tensor, Tensor]:
        if size >= len(pixels):
            return predict(pixels)
        parts = [predict(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        return torch.cat([probabilities for probabilities, _ in parts]), torch.cat([features for _, features in parts])

    with exact_float32():
        probabilities, features = halve_until_it_fits(predict_all, max(1, len(pixels)))
    return probabilities, features.numpy()


@dataclass(frozen=True, eq=False)
class PixelPredictions:
    """A segmenter's predictions for the images of a ``MaskRequest``.

    Attributes:
        probabilities: (m, 1, S, S) or (m, 1 + C, S, S) float32 pixel probabilities.
    """

    probabilities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MaskRequest:
    """Request for the masks of a few images; all of them are held in memory.

    Attributes:
        images: (m,) indices of the images.
    """

    images: NDArray[np.int64]

    def run(self, model: PixelNetwork, images: NDArray[np.uint8]) -> PixelPredictions:
        """Predict the requested images out of (N, S, S, channels) uint8."""
        return PixelPredictions(predict_pixels(model, images[self.images]).cpu().numpy())


def count_pixels(
    models: Sequence[Segmenter],
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    indices: NDArray[np.int64],
    num_classes: int,
) -> NDArray[np.float64]:
    """Count the pixels of every model's masks, and of the masks of the first models' mean probabilities.

    Args:
        models: M segmenters in eval mode, best first.
        images: (N, S, S, channels) uint8 images.
        masks: (N, S, S) uint8 true masks.
        indices: (n,) indices of the images to predict.
        num_classes: C, without the background.

    Returns:
        (2M - 1, n, 3C) counts: ``pixel_counts`` of one image per row, first for each of the M models, then for the
        means of the first 2, ..., M models.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is too small for a single image.
    """

    def count_batch(batch: NDArray[np.int64]) -> Tensor:
        pixels, truth = images[batch], torch.from_numpy(masks[batch])
        single, combined = [], []
        total: Tensor | None = None
        for count, model in enumerate(models, 1):
            probabilities = predict_pixels(model, pixels)
            total = probabilities if total is None else total + probabilities
            truth = truth.to(total.device)
            single.append(pixel_counts(predicted_masks(probabilities), truth, num_classes))
            if count > 1:
                combined.append(pixel_counts(predicted_masks(total / count), truth, num_classes))
        return torch.stack([*single, *combined]).flatten(start_dim=2).cpu()

    def count_all(size: int) -> Tensor:
        starts = range(0, len(indices), size)
        return torch.cat([count_batch(indices[start : start + size]) for start in starts], dim=1)

    counts: NDArray[np.float64] = halve_until_it_fits(count_all, _BATCH).double().numpy()
    return counts
