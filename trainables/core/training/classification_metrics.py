"""Classification metrics from probabilities, as scikit-learn defines them, averaged over the classes present.

Written in numpy, some ten times as fast: resampling computes them thousands of times.
"""

import re
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError
from trainables.core.metric_names import SENSITIVITY

# From (R, T) positives and negatives among the images that score at least each of T thresholds to (R,).
_Area = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


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
        needed: The one metric that is asked for; None computes all.
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
    once = np.ones((1, len(targets)), dtype=np.int64)
    metrics = resampled_metrics(probabilities, targets, class_names, once, needed, healthy)
    return {name: float(value[0]) for name, value in metrics.items() if "/" not in name or not np.isnan(value[0])}


def resampled_metrics(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    draws: NDArray[np.int64],
    needed: str | None = None,
    healthy: str | None = None,
) -> dict[str, NDArray[np.float64]]:
    """The same on R resamples at once, each of which says how often it has drawn every image.

    Args:
        probabilities: (N, C), rows sum to 1.
        targets: (N,) in [0, C).
        class_names: C names.
        draws: (R, N), at least one image in each row.
        needed: The one metric that is asked for, or None.
        healthy: The class without a disease, where there is one.

    Returns:
        (R,) a metric. Of a class that a resample lacks, its own are NaN there.
    """
    confusion = _confusions(probabilities, targets, draws)
    hits, actual, predicted = np.einsum("rcc->rc", confusion), confusion.sum(axis=2), confusion.sum(axis=1)
    present = actual > 0
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(actual, 1)
    f1 = 2 * hits / np.maximum(predicted + actual, 1)

    def over_classes(values: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = present.any(axis=0)
        mean: NDArray[np.float64] = np.where(present, values, 0)[:, drawn].sum(axis=1) / present.sum(axis=1)
        return mean

    def clinical() -> NDArray[np.float64]:
        well = [name == healthy for name in class_names]
        return over_classes(np.where(well, precision, recall))

    def sensitivity() -> NDArray[np.float64]:
        ill = int(class_names[0] == healthy)  # of two
        return _sensitivity(*_thresholds(targets == ill, probabilities[:, ill], draws))

    def log_loss() -> NDArray[np.float64]:
        of_truth = np.take_along_axis(_normalised(probabilities), targets[:, None], axis=1)[:, 0]
        return resampled_mean(-np.log(np.maximum(of_truth, np.finfo(np.float64).eps)), draws)

    def one_against_rest(area: _Area) -> NDArray[np.float64]:
        areas = [area(*_thresholds(targets == label, scores, draws)) for label, scores in enumerate(probabilities.T)]
        total = sum(np.where(present.T, areas, 0), start=np.zeros(len(draws)))
        mean: NDArray[np.float64] = total / present.sum(axis=1)
        return mean

    def of_class(values: NDArray[np.float64], label: int) -> NDArray[np.float64]:
        return np.where(present[:, label], values[:, label], np.nan)

    metrics: dict[str, Callable[[], NDArray[np.float64]]] = {
        "accuracy": lambda: hits.sum(axis=1) / draws.sum(axis=1),
        "balanced_accuracy": lambda: over_classes(recall),
        "log_loss": log_loss,
        "macro_precision": lambda: over_classes(precision),
        "macro_recall": lambda: over_classes(recall),
        "macro_f1": lambda: over_classes(f1),
        "average_precision": lambda: one_against_rest(_average_precision),
        "auroc": lambda: one_against_rest(_auroc),
    }
    if healthy is not None:
        metrics["clinical"] = clinical
        if len(class_names) == 2:
            metrics[SENSITIVITY] = sensitivity
    for label, key in enumerate(class_keys(class_names)):
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            metrics[f"{name}/{key}"] = partial(of_class, values, label)
    return {name: compute() for name, compute in metrics.items() if needed in (None, name)}


def resampled_mean(values: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) the mean of (N,) values on R resamples, given as (R, N) how often each has drawn every image."""
    mean: NDArray[np.float64] = (values * draws).sum(axis=1) / draws.sum(axis=1)
    return mean


def confusion_counts(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C, C) counts of images, true classes in rows, predicted ones in columns, of (N, C) and (N,)."""
    once = np.ones((1, len(targets)), dtype=np.int64)
    confusion: NDArray[np.int64] = _confusions(probabilities, targets, once)[0]
    return confusion


def _confusions(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(R, C, C) the same of R resamples."""
    resamples, classes = len(draws), probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(axis=1) + np.arange(resamples)[:, None] * classes**2
    counts = np.bincount(cells.ravel(), weights=draws.ravel(), minlength=resamples * classes**2)
    return counts.astype(np.int64).reshape(resamples, classes, classes)


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


def _thresholds(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], draws: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(R, T) positives and negatives among the images that score at least each of T thresholds, highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores share a threshold
    drawn = draws[:, order]
    seen, hits = (np.cumsum(part, axis=1)[:, last] for part in (drawn, drawn * positive[order]))
    return hits, seen - hits


def _average_precision(hits: NDArray[np.int64], misses: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) mean precision over the positives; 0 without any."""
    precision = hits / np.maximum(hits + misses, 1)
    new = np.diff(hits, prepend=0).astype(np.float64)
    area: NDArray[np.float64] = np.vecdot(new, precision) / np.maximum(hits[:, -1], 1)
    return area


def _auroc(hits: NDArray[np.int64], misses: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) area under the ROC curve; 0 without a positive, NaN without a negative."""
    before = np.pad(hits[:, :-1], ((0, 0), (1, 0)))
    area = (np.diff(misses, prepend=0) * (hits + before)).sum(axis=1) / 2
    pairs = np.maximum(hits[:, -1], 1) * misses[:, -1]
    return np.where(pairs > 0, area / np.maximum(pairs, 1), np.nan)


def _sensitivity(hits: NDArray[np.int64], misses: NDArray[np.int64], specificity: float = 0.95) -> NDArray[np.float64]:
    """(R,) the most positives that a threshold finds which leaves so large a share of the negatives below it."""
    allowed = misses <= (1 - specificity) * misses[:, -1:] + 1e-9  # rounding must not cost a negative
    share = np.max(hits * allowed, axis=1) / np.maximum(hits[:, -1], 1)
    return np.where((hits[:, -1] > 0) & (misses[:, -1] > 0), share, np.nan)
