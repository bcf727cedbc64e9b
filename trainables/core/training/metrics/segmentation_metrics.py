"""Segmentation metrics from pixel counts, so that no masks need to be stored.

Counts are (N, C, 3): for each image and class, the true positive, false positive and false negative pixels.
"""

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError
from trainables.core.metric_names import unknown_metric
from trainables.core.training.metrics.classification_metrics import class_keys

Counts = NDArray[np.int64]
_RATIOS = {"dice": (2, 1), "iou": (1, 1)}  # weights of tp, and of fp + fn


def overlap(counts: NDArray[np.number], name: str) -> NDArray[np.float64]:
    """Compute ``dice`` or ``iou`` of (..., 3) counts; 1 for a class that is neither present nor predicted."""
    hit_weight, miss_weight = _RATIOS[name]
    hits, misses = hit_weight * counts[..., 0], miss_weight * (counts[..., 1] + counts[..., 2])
    ratio: NDArray[np.float64] = np.where(hits + misses == 0, 1.0, hits / np.maximum(hits + misses, 1))
    return ratio


def segmentation_metrics(counts: NDArray[np.number], class_names: tuple[str, ...]) -> dict[str, float]:
    """Compute the metrics of pixel counts.

    Args:
        counts: (N, C, 3) pixel counts.
        class_names: C names, without the background.

    Returns:
        ``dice`` and ``iou`` are means over images and classes. ``dataset_dice`` and ``dataset_iou`` pool the pixels of
        all images, so that large regions count more. Each metric also exists per class, as ``<metric>/<class>``. A
        class that is neither present nor predicted in an image scores 1 there.

    Raises:
        DataError: There are no images.
    """
    if len(counts) == 0:
        raise DataError("metrics need at least one image, but got none")
    once = np.ones((1, len(counts)), dtype=np.int64)
    return {
        name: float(values[0]) for name, values in resampled_segmentation_metrics(counts, class_names, once).items()
    }


def resampled_segmentation_metrics(
    counts: NDArray[np.number], class_names: tuple[str, ...], draws: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Compute (R,) ``segmentation_metrics`` of R resamples, given as (R, N) counts of each image's draws."""
    shares = draws / draws.sum(axis=1, keepdims=True)
    by_class = {name: shares @ overlap(counts, name) for name in _RATIOS}
    pooled = np.tensordot(draws, counts, axes=1)
    by_class |= {f"dataset_{name}": overlap(pooled, name) for name in _RATIOS}
    metrics = {name: values.mean(axis=1) for name, values in by_class.items()}
    for index, key in enumerate(class_keys(class_names)):
        metrics |= {f"{name}/{key}": values[:, index] for name, values in by_class.items()}
    return metrics


def check_mask_objective(metric: str, class_names: tuple[str, ...]) -> None:
    """Check that ``metric`` is a segmentation metric that trials can be compared by.

    Raises:
        DataError: It is not.
    """
    known = segmentation_metrics(np.ones((1, len(class_names), 3)), class_names)
    if metric not in known:
        raise DataError(unknown_metric(metric, known, by_patient=False))
