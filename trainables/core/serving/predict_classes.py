"""Class probabilities of a trained classifier, optionally averaged over several views of each image."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.device import exact_float32, halve_until_it_fits
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import trained_network
from trainables.core.models.networks.classifier import Classifier

# Views of test-time augmentation. Each view is (number of quarter turns, mirrored left to right).
VIEWS: Mapping[str, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, True)),  # original, mirrored left to right, mirrored upside down
    "turns": ((0, False), (1, False), (2, False), (3, False)),
    "all": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}

_BATCH = 64


def trained_classifier(checkpoint: Checkpoint, device: torch.device) -> Classifier:
    """Build the classifier of a checkpoint, in eval mode. The checkpoint holds all weights that it needs."""
    model = trained_network(checkpoint, device)
    assert isinstance(model, Classifier)
    return model


def predict_probabilities(
    model: PixelNetwork,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    batch_size: int = 64,
    views: str = "none",
) -> NDArray[np.float32]:
    """Return the (n, C) probabilities of ``predict_with_features``, which describes the arguments."""
    return predict_with_features(model, images, indices, batch_size, views)[0]


@torch.inference_mode()
def predict_with_features(
    model: PixelNetwork,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    batch_size: int = 64,
    views: str = "none",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict class probabilities in float32, whatever the training precision, so that all machines agree.

    Args:
        model: Network in eval mode that returns (B, C) logits.
        images: (N, S, S, channels) uint8 images.
        indices: (n,) indices of the images to predict.
        batch_size: Images per forward pass; fewer if the GPU's memory is too small for them.
        views: Key of ``VIEWS``; the probabilities are the arithmetic mean over its views.

    Returns:
        (n, C) float32 probabilities, and (n, F) float32 features of the first view, which is the image itself.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is too small for a single image.
    """
    device = next(model.parameters()).device

    def predict(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parts, features = [], []
        for start in range(0, len(indices), size):
            batch = torch.from_numpy(images[indices[start : start + size]]).to(device)
            passes = [model.features_and_logits(view(batch, *each)) for each in VIEWS[views]]
            features.append(passes[0][0].float().cpu())
            predictions = [model.probabilities(logits) for _, logits in passes]
            parts.append((torch.stack(predictions).mean(dim=0) if len(predictions) > 1 else predictions[0]).cpu())
        return torch.cat(parts).numpy(), torch.cat(features).numpy()

    with exact_float32():
        return halve_until_it_fits(predict, batch_size)


@torch.inference_mode()
def extract_features(model: PixelNetwork, images: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the (n, F) float32 features of n of (N, S, S, channels) uint8 images, of a network for any task."""
    device = next(model.parameters()).device

    def extract(size: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(indices), size):
            pixels = torch.from_numpy(images[indices[start : start + size]]).to(device)
            parts.append(model.features_and_logits(pixels)[0].float().cpu())
        return torch.cat(parts).numpy()

    with exact_float32():
        return halve_until_it_fits(extract, _BATCH)


def mean_probabilities(predictions: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of (n, C) predictions. A single prediction is returned unchanged."""
    if len(predictions) == 1:
        return predictions[0]
    mean: NDArray[np.float64] = np.mean(np.stack(predictions), axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def view(batch: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    """Turn (B, S, S, channels) images by quarter turns, then mirror them left to right."""
    turned = torch.rot90(batch, turns, (1, 2)) if turns else batch
    return turned.flip(2) if mirrored else turned
