"""From the logits of pixels to probabilities, masks and counts."""

import torch
from torch import Tensor


def pixel_probabilities(logits: Tensor) -> Tensor:
    """Float32 probabilities of (B, 1, S, S) logits of one class, or of (B, 1 + C, S, S), the background first."""
    wide = logits.to(torch.float32)
    return wide.sigmoid() if logits.shape[1] == 1 else wide.softmax(dim=1)


def predicted_masks(probabilities: Tensor) -> Tensor:
    """(B, S, S) int64 classes, 0 the background: the likeliest, or where one class alone is above a half."""
    return (probabilities[:, 0] > 0.5).long() if probabilities.shape[1] == 1 else probabilities.argmax(dim=1)


def pixel_counts(predicted: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Counts pixels.

    Args:
        predicted: (B, S, S) integer classes in [0, C], 0 the background.
        targets: (B, S, S) the true ones.
        num_classes: C.

    Returns:
        (B, C, 3) int64 on the same device.
    """
    images, classes = len(targets), num_classes + 1
    image = torch.arange(images, device=targets.device).view(-1, 1, 1)
    cells = (image * classes + targets) * classes + predicted
    confusion = _histogram(cells.flatten(), images * classes**2).view(images, classes, classes)
    hits = confusion.diagonal(dim1=1, dim2=2)
    counts = torch.stack([hits, confusion.sum(dim=1) - hits, confusion.sum(dim=2) - hits], dim=2)
    return counts[:, 1:]


def _histogram(values: Tensor, size: int) -> Tensor:
    """How often each of 0, ..., size - 1 is among the values, as ``bincount`` without its host-device sync on CUDA."""
    return values.new_zeros(size).scatter_add_(0, values, torch.ones_like(values))
