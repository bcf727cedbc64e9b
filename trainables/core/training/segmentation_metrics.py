"""Segmentation metrics from counts of pixels: masks themselves need not be kept.

Counts are (N, C, 3): of each image and class the pixels that are rightly, wrongly and not found (tp, fp, fn).
"""

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError
from trainables.core.training.classification_metrics import class_keys

Counts = NDArray[np.int64]
_RATIOS = {"dice": (2, 1), "iou": (1, 1)}  # tp and fp + fn count so often


def overlap(counts: NDArray[np.number], name: str) -> NDArray[np.float64]:
    """``dice`` or ``iou`` of (..., 3) counts; 1 where a class is neither there nor found."""
    of_hits, of_misses = _RATIOS[name]
    hits, misses = of_hits * counts[..., 0], of_misses * (counts[..., 1] + counts[..., 2])
    ratio: NDArray[np.float64] = np.where(hits + misses == 0, 1.0, hits / np.maximum(hits + misses, 1))
    return ratio


def segmentation_metrics(counts: NDArray[np.number], class_names: tuple[str, ...]) -> dict[str, float]:
    """Scores counts of pixels.

    Args:
        counts: (N, C, 3).
        class_names: C names, the background not among them.

    Returns:
        ``dice`` and ``iou``, the mean over images and classes; ``dataset_dice`` and ``dataset_iou``, of all images'
        pixels together, where large regions count for more; each also as ``<metric>/<class>``. A class that an image
        neither has nor is given counts as 1 there.

    Raises:
        DataError: There is nothing to score.
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
    """(R,) ``segmentation_metrics`` on R resamples, given as (R, N) how often each has drawn every image."""
    shares = draws / draws.sum(axis=1, keepdims=True)
    by_class = {name: shares @ overlap(counts, name) for name in _RATIOS}
    together = np.tensordot(draws, counts, axes=1)
    by_class |= {f"dataset_{name}": overlap(together, name) for name in _RATIOS}
    metrics = {name: values.mean(axis=1) for name, values in by_class.items()}
    for index, key in enumerate(class_keys(class_names)):
        metrics |= {f"{name}/{key}": values[:, index] for name, values in by_class.items()}
    return metrics


def check_mask_objective(metric: str, class_names: tuple[str, ...]) -> None:
    """Raises DataError unless ``metric`` exists, and means the same in every trial."""
    known = segmentation_metrics(np.ones((1, len(class_names), 3)), class_names)
    if metric not in known:
        raise DataError(f"the metric of a segmentation must be one of {', '.join(known)}, but got {metric!r}")
