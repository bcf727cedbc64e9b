"""Probabilities, masks and pixel counts from the logits of a segmentation."""

import torch
from torch import Tensor


def pixel_probabilities(logits: Tensor) -> Tensor:
    """Turn logits into float32 probabilities of the same shape.

    Args:
        logits: (B, 1, S, S) for one class (sigmoid), or (B, 1 + C, S, S) with the background first (softmax).
    """
    wide = logits.to(torch.float32)
    return wide.sigmoid() if logits.shape[1] == 1 else wide.softmax(dim=1)


def predicted_masks(probabilities: Tensor) -> Tensor:
    """Return the (B, S, S) int64 class of each pixel, 0 for the background.

    Args:
        probabilities: Output of ``pixel_probabilities``. A single class is predicted where it is above 0.5, several by
            the highest probability.
    """
    return (probabilities[:, 0] > 0.5).long() if probabilities.shape[1] == 1 else probabilities.argmax(dim=1)


def pixel_counts(predicted: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Count true positive, false positive and false negative pixels.

    Args:
        predicted: (B, S, S) integer classes in [0, C], 0 for the background.
        targets: (B, S, S) integer classes, the truth.
        num_classes: C.

    Returns:
        (B, C, 3) int64 on the same device, for each image and class.
    """
    images, classes = len(targets), num_classes + 1
    image = torch.arange(images, device=targets.device).view(-1, 1, 1)
    cells = (image * classes + targets) * classes + predicted
    confusion = _histogram(cells.flatten(), images * classes**2).view(images, classes, classes)
    hits = confusion.diagonal(dim1=1, dim2=2)
    counts = torch.stack([hits, confusion.sum(dim=1) - hits, confusion.sum(dim=2) - hits], dim=2)
    return counts[:, 1:]


def _histogram(values: Tensor, size: int) -> Tensor:
    """Count how often each of 0, ..., size - 1 occurs: ``bincount`` without its host-device sync on CUDA."""
    return values.new_zeros(size).scatter_add_(0, values, torch.ones_like(values))
