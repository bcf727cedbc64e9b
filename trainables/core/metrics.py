"""Classification metrics from probabilities, as scikit-learn defines them, averaged over the classes present.

Written in numpy, some ten times as fast: resampling computes them thousands of times.
"""

import re

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError

LATENCY = "latency_ms"
SENSITIVITY = "sensitivity_at_95_specificity"
# Lower is better for these; every other metric is better when higher.
MINIMIZED = frozenset({"log_loss", LATENCY})


def is_better(metric: str, value: float, than: float | None) -> bool:
    """Whether ``value`` of ``metric`` beats ``than`` (None and NaN are beaten by any number; NaN beats nothing)."""
    if np.isnan(value):
        return False
    if than is None or np.isnan(than):
        return True
    return value < than if metric in MINIMIZED else value > than


def classification_metrics(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    needed: str | None = None,
    healthy: str | None = None,
) -> dict[str, float]:
    """Scores probabilities against the true classes.

    Args:
        probabilities: (N, C), rows sum to 1.
        targets: (N,) in [0, C).
        class_names: C names.
        needed: The one metric that is asked for; costly ones besides it are left out. None computes all.
        healthy: The class without a disease, where there is one.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``log_loss``, ``macro_precision``, ``macro_recall``, ``macro_f1``,
        ``average_precision`` and ``auroc`` (one class against the rest, averaged), and ``precision/<class>``,
        ``recall/<class>``, ``f1/<class>`` for the present classes, by their ``class_keys``. With a healthy class also
        ``clinical``: the mean of its precision (who is sent home is well) and of the other classes' recalls (who is
        ill is found); and of two classes ``sensitivity_at_95_specificity``: the largest share of the ill that a
        threshold finds that takes at least 95% of the well for well. Averages run over the classes present in
        ``targets``; an absent class has no figure of its own (``absent_classes`` names it), and where one class alone
        is present ``auroc`` and the sensitivity are NaN. A precision without any prediction of that class counts as 0.

    Raises:
        DataError: There is nothing to score.
    """
    if len(targets) == 0:
        raise DataError("metrics need at least one image, but got none")
    confusion = confusion_counts(probabilities, targets)
    hits, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = np.flatnonzero(actual)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(actual, 1)
    f1 = 2 * hits / np.maximum(predicted + actual, 1)
    metrics = {
        "accuracy": hits.sum() / len(targets),
        "balanced_accuracy": recall[present].mean(),
        "macro_precision": precision[present].mean(),
        "macro_recall": recall[present].mean(),
        "macro_f1": f1[present].mean(),
    }
    if healthy is not None:
        well = class_names.index(healthy)
        metrics["clinical"] = np.where(np.arange(len(class_names)) == well, precision, recall)[present].mean()
        if len(class_names) == 2 and needed in (None, SENSITIVITY):
            metrics[SENSITIVITY] = sensitivity_at(0.95, targets != well, probabilities[:, 1 - well])
    if needed in (None, "log_loss"):
        of_truth = np.take_along_axis(_normalised(probabilities), targets[:, None], axis=1)
        metrics["log_loss"] = -np.log(np.maximum(of_truth, np.finfo(np.float64).eps)).mean()
    if needed in (None, "average_precision", "auroc"):
        metrics |= _threshold_free(probabilities, targets, present)
    keys = class_keys(class_names)
    for index in present:
        name = keys[index]
        metrics |= {f"precision/{name}": precision[index], f"recall/{name}": recall[index], f"f1/{name}": f1[index]}
    return {name: float(value) for name, value in metrics.items()}


def sensitivity_at(specificity: float, positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The highest true positive rate of a threshold at which so many negatives, at least, lie below it.

    Args:
        specificity: The share of negatives, in 0..1.
        positive: (N,) which images are positive.
        scores: (N,); equal ones are on the same side of any threshold.

    Returns:
        A share in 0..1; NaN without a positive or without a negative.
    """
    hits, misses = _found(positive, scores)
    if not hits[-1] or not misses[-1]:
        return float("nan")
    allowed = misses <= (1 - specificity) * misses[-1] + 1e-9  # rounding must not cost a negative
    return float(np.max(hits[allowed], initial=0) / hits[-1])


def confusion_counts(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C, C) counts of images, true classes in rows, predicted ones in columns, of (N, C) and (N,)."""
    classes = probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_keys(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The class names as parts of metric names: letters, digits, spaces, ``_ - . :`` alone, and no two alike."""
    keys = [re.sub(r"[^\w\-. :]", "_", name).strip(". ") or "class" for name in class_names]
    return tuple(f"{key}_{index}" if keys.count(key) > 1 else key for index, key in enumerate(keys))


def absent_classes(targets: NDArray[np.int64], class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes that do not occur in ``targets``."""
    return tuple(name for index, name in enumerate(class_names) if not (targets == index).any())


def check_objective(
    metric: str, targets: NDArray[np.int64], class_names: tuple[str, ...], healthy: str | None = None
) -> None:
    """Raises DataError unless ``metric`` exists and is defined on ``targets`` (the labels of ``tune``).

    The training loss is refused: class weights, focal loss and smoothing give each trial a loss of its own.
    """
    uniform = np.full((len(targets), len(class_names)), 1 / len(class_names))
    known = classification_metrics(uniform, targets, class_names, healthy=healthy)
    if metric == "clinical" and healthy is None:
        raise DataError(
            "the metric clinical needs the class that is healthy: the space names none that the data has "
            f"({', '.join(class_names)}); set `healthy` in the space, or take another metric"
        )
    if metric == "loss":
        raise DataError("the metric must mean the same in every trial, but each has a loss of its own: take log_loss")
    if metric not in known:
        raise DataError(f"the metric must be one of {', '.join(known)}, but got {metric!r}")
    if np.isnan(known[metric]):
        raise DataError(f"the metric {metric!r} is undefined on `tune`: it needs images of at least two classes there")


def _normalised(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


def _threshold_free(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], present: NDArray[np.int64]
) -> dict[str, float]:
    one_against_rest = [_areas(targets == index, probabilities[:, index]) for index in present]
    average_precision, auroc = np.mean(one_against_rest, axis=0)
    return {"average_precision": average_precision, "auroc": auroc}


def _areas(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> tuple[float, float]:
    """Average precision, and the area under the ROC curve (NaN without a negative); equal scores share a threshold."""
    hits, misses = _found(positive, scores)
    average_precision = np.diff(hits, prepend=0) @ (hits / (hits + misses)) / hits[-1]
    below = np.diff(misses, prepend=0) @ (hits + np.append(0, hits[:-1])) / 2
    return float(average_precision), float(below / (hits[-1] * misses[-1])) if misses[-1] else np.nan


def _found(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many positives and how many negatives score at least as high as each of the distinct scores, falling."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last]
    return hits, last + 1 - hits
