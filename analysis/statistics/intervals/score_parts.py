"""Parts that the scores of a task are made of, which decide the kind of interval each score gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainables.core.metric_names import ABSOLUTE_ERROR, KAPPA
from trainables.core.training.metrics.classification_metrics import class_keys, log_losses
from trainables.core.training.metrics.multi_label_metrics import THRESHOLD, label_log_losses
from trainables.core.training.metrics.segmentation_metrics import overlap

_Mask = NDArray[np.bool_]
_LOG_LOSS = (0.0, float(-np.log(np.finfo(np.float64).eps)))  # likelihoods count as at least eps


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """Scores by kind. A score of no kind lies between 0 and 1 and is judged by its resamples only.

    Attributes:
        shares: Proportions: (N,) the images that are right, and (N,) those that count.
        averages: Scores that are the mean of several shares, with the names of these.
        means: Scores that are a mean over images: (N,) values.
        ranges: Lowest and highest value of scores that do not lie between 0 and 1.
    """

    shares: Mapping[str, tuple[_Mask, _Mask]] = field(default_factory=dict)
    averages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def class_parts(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], class_names: tuple[str, ...], healthy: str | None
) -> ScoreParts:
    """Return the parts of ``classification_metrics`` of (N, C) probabilities."""
    predicted = probabilities.argmax(axis=1)
    right, keys = predicted == labels, class_keys(class_names)
    shares = {"accuracy": (right, np.ones(len(labels), dtype=bool))}
    present = [label for label in range(len(keys)) if (labels == label).any()]
    shares |= {f"recall/{keys[label]}": (right, labels == label) for label in present}
    averages = {}
    if len(present) > 1:
        shares |= {f"precision/{keys[label]}": (right, predicted == label) for label in present}
        recalls, precisions = ([f"{name}/{keys[label]}" for label in present] for name in ("recall", "precision"))
        averages = {"balanced_accuracy": recalls, "macro_recall": recalls, "macro_precision": precisions}
        if healthy is not None:
            is_healthy = [class_names[label] == healthy for label in present]
            averages["clinical"] = np.where(is_healthy, precisions, recalls).tolist()
    return ScoreParts(
        shares,
        averages,
        {"log_loss": log_losses(probabilities, labels)},
        {KAPPA: (-1.0, 1.0), ABSOLUTE_ERROR: (0.0, len(keys) - 1.0), "log_loss": _LOG_LOSS, "brier": (0.0, 2.0)},
    )


def label_parts(
    predictions: NDArray[np.floating], labels: NDArray[np.int64], class_names: tuple[str, ...]
) -> ScoreParts:
    """Return the parts of ``multi_label_metrics`` of (N, L) probabilities, or (N, 2L) with decisions."""
    count = len(class_names)
    probabilities = predictions[:, :count]
    decided, has = (predictions[:, count:] if predictions.shape[1] > count else probabilities) >= THRESHOLD, labels == 1
    right = decided & has
    shares = {}
    for label, key in enumerate(class_keys(class_names)):
        if has[:, label].any():
            shares[f"recall/{key}"] = right[:, label], has[:, label]
            if not has[:, label].all():
                shares[f"precision/{key}"] = right[:, label], decided[:, label]
    return ScoreParts(
        shares, means={"log_loss": label_log_losses(probabilities, labels)}, ranges={"log_loss": _LOG_LOSS}
    )


def mask_parts(counts: NDArray[np.number], class_names: tuple[str, ...]) -> ScoreParts:
    """Return the parts of ``segmentation_metrics`` of (N, C, 3) pixel counts."""
    means = {}
    for name in ("dice", "iou"):
        of_classes = overlap(counts, name)
        means[name] = of_classes.mean(axis=1)
        means |= {f"{name}/{key}": of_classes[:, label] for label, key in enumerate(class_keys(class_names))}
    return ScoreParts(means=means)
