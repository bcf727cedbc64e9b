"""Features of images: the inputs of a trained classifier's head."""

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.device import exact_float32, halve_until_it_fits
from trainables.core.models.networks.classifier import Classifier

_BATCH = 64


@torch.inference_mode()
def head_features(
    model: Classifier, images: NDArray[np.uint8], indices: NDArray[np.int64], seconds: float = math.inf
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the features and class probabilities of images.

    Args:
        model: Classifier in eval mode.
        images: (N, S, S, channels) uint8 images.
        indices: (n,) indices of the images to use.
        seconds: Time limit; after it no further batch is started.

    Returns:
        (k, F) float32 features and (k, C) float32 probabilities of the first k images; k is n within the time limit.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is too small for a single image.
    """
    device = next(model.parameters()).device
    deadline = time.monotonic() + seconds

    def compute(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features, probabilities = [torch.empty(0, model.backbone.num_features)], []
        for start in range(0, len(indices), size):
            if start and time.monotonic() > deadline:
                break
            pixels = torch.from_numpy(images[indices[start : start + size]]).to(device)
            batch, logits = model.features_and_logits(pixels)
            features.append(batch.float().cpu())
            probabilities.append(logits.softmax(dim=1).float().cpu().numpy())
        classes = probabilities[0].shape[1] if probabilities else 0
        return torch.cat(features).numpy(), np.concatenate([np.empty((0, classes), np.float32), *probabilities])

    with exact_float32():
        return halve_until_it_fits(compute, _BATCH)
