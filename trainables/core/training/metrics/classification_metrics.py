"""Classification metrics from probabilities, as scikit-learn defines them, averaged over the classes present.

They are written in numpy and some ten times as fast as scikit-learn's, because resampling computes them thousands of
times.
"""

import re
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError
from trainables.core.metric_names import ABSOLUTE_ERROR, KAPPA, SENSITIVITY, unknown_metric
from trainables.core.training.metrics.ordinal_metrics import mean_absolute_error, quadratic_weighted_kappa
from trainables.core.training.metrics.threshold_metrics import auroc, average_precision, sensitivity, threshold_counts

# From (R, T) positives and negatives among the images that score at least each of T thresholds to (R,).
_Area = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def classification_metrics(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    only: str | None = None,
    healthy: str | None = None,
    ordered: bool = False,
) -> dict[str, float]:
    """Score probabilities against the true classes.

    Averages run over the classes present in ``targets``. A precision without any prediction of its class is 0.

    Args:
        probabilities: (N, C), rows sum to 1.
        targets: (N,) in [0, C).
        class_names: C names.
        only: Name of a single metric to compute; None computes all.
        healthy: Name of the class without a disease, if there is one.
        ordered: True if the classes are grades, in the order of ``class_names``.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``log_loss``, ``macro_precision``, ``macro_recall``, ``macro_f1``;
        ``average_precision`` and ``auroc``, one class against the rest, averaged; and for each present class
        ``precision/<class>``, ``recall/<class>`` and ``f1/<class>``, named by ``class_keys``. With a healthy class also
        ``clinical``, the mean of its precision and of the other classes' recalls. With a healthy class and one other
        also ``sensitivity_at_95_specificity``, the largest share of the ill found by a threshold that classifies at
        least 95% of the healthy as healthy. Grades also have ``quadratic_weighted_kappa`` and ``mean_absolute_error``,
        see ``ordinal_metrics``. If only one class is present, predictions of it cannot be wrong: then its precision and
        F1, all averages, kappa and this sensitivity are undefined. An undefined metric of a class is left out; the
        others are NaN.

    Raises:
        DataError: There are no images.
    """
    if len(targets) == 0:
        raise DataError("metrics need at least one image, but got none")
    once = np.ones((1, len(targets)), dtype=np.int64)
    metrics = resampled_metrics(Resamples(probabilities, targets, once), class_names, only, healthy, ordered)
    return {name: float(value[0]) for name, value in metrics.items() if "/" not in name or not np.isnan(value[0])}


def resampled_metrics(
    resamples: "Resamples",
    class_names: tuple[str, ...],
    only: str | None = None,
    healthy: str | None = None,
    ordered: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Compute ``classification_metrics`` of R resamples at once; the other arguments are the same.

    Returns:
        (R,) values of each metric. The metrics of a class are NaN for resamples that do not define them.
    """
    metrics = {name: partial(metric, resamples) for name, metric in _METRICS.items()}
    if healthy is not None:
        metrics["clinical"] = partial(_clinical, resamples, [name == healthy for name in class_names])
        if len(class_names) == 2:
            metrics[SENSITIVITY] = partial(_sensitivity_of, resamples, int(class_names[0] == healthy))
    if ordered:
        metrics[KAPPA] = partial(quadratic_weighted_kappa, resamples.confusion)
        metrics[ABSOLUTE_ERROR] = partial(mean_absolute_error, resamples.confusion)
    for label, key in enumerate(class_keys(class_names)):
        for name in ("precision", "recall", "f1"):
            metrics[f"{name}/{key}"] = partial(_class_metric, resamples, name, label)
    return {name: compute() for name, compute in metrics.items() if only in (None, name)}


class Resamples:
    """R resamples of N scored images, with their counts and ratios of each class, (R, C) each.

    Args:
        probabilities: (N, C), rows sum to 1.
        targets: (N,) in [0, C).
        draws: (R, N) how often each resample draws each image, with at least one image per row.
    """

    def __init__(self, probabilities: NDArray[np.floating], targets: NDArray[np.int64], draws: NDArray[np.int64]):
        self.probabilities, self.targets, self.draws = probabilities, targets, draws
        self.confusion = _confusions(probabilities, targets, draws)
        actual, predicted = self.confusion.sum(axis=2), self.confusion.sum(axis=1)
        self.hits = np.einsum("rcc->rc", self.confusion)
        self.present = actual > 0
        self.several = self.present.sum(axis=1) > 1
        self.precision, self.recall = self.hits / np.maximum(predicted, 1), self.hits / np.maximum(actual, 1)
        self.f1 = 2 * self.hits / np.maximum(predicted + actual, 1)

    def mean_over_classes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (R,) means of (R, C) values over the classes that each resample contains; NaN for only one."""
        drawn = self.present.any(axis=0)
        mean: NDArray[np.float64] = np.where(self.present, values, 0)[:, drawn].sum(axis=1) / self.present.sum(axis=1)
        return np.where(self.several, mean, np.nan)

    def thresholds(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ``threshold_counts`` of one class against the rest."""
        return threshold_counts(self.targets == label, self.probabilities[:, label], self.draws)


def log_losses(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the (N,) log losses of (N, C) probabilities against (N,) true classes."""
    likelihoods = np.take_along_axis(_normalised(probabilities), targets[:, None], axis=1)[:, 0]
    losses: NDArray[np.float64] = -np.log(np.maximum(likelihoods, np.finfo(np.float64).eps))
    return losses


def _log_loss(resamples: Resamples) -> NDArray[np.float64]:
    return resampled_mean(log_losses(resamples.probabilities, resamples.targets), resamples.draws)


def _one_against_rest(resamples: Resamples, area: _Area) -> NDArray[np.float64]:
    areas = [area(*resamples.thresholds(label)) for label in range(resamples.probabilities.shape[1])]
    return resamples.mean_over_classes(np.stack(areas, axis=1))


def _clinical(resamples: Resamples, is_healthy: list[bool]) -> NDArray[np.float64]:
    return resamples.mean_over_classes(np.where(is_healthy, resamples.precision, resamples.recall))


def _sensitivity_of(resamples: Resamples, ill: int) -> NDArray[np.float64]:
    return sensitivity(*resamples.thresholds(ill))


def _class_metric(resamples: Resamples, name: str, label: int) -> NDArray[np.float64]:
    values: NDArray[np.float64] = getattr(resamples, name)
    defined = resamples.present[:, label] & (resamples.several | (name == "recall"))
    return np.where(defined, values[:, label], np.nan)


def resampled_mean(values: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the (R,) means of (N,) values over R resamples, given as (R, N) counts of each image's draws."""
    mean: NDArray[np.float64] = (values * draws).sum(axis=1) / draws.sum(axis=1)
    return mean


def confusion_counts(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count images in a (C, C) confusion matrix, with the true classes in rows and the predicted ones in columns."""
    once = np.ones((1, len(targets)), dtype=np.int64)
    confusion: NDArray[np.int64] = _confusions(probabilities, targets, once)[0]
    return confusion


def _confusions(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the (R, C, C) confusion matrices of R resamples."""
    resamples, classes = len(draws), probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(axis=1) + np.arange(resamples)[:, None] * classes**2
    counts = np.bincount(cells.ravel(), weights=draws.ravel(), minlength=resamples * classes**2)
    return counts.astype(np.int64).reshape(resamples, classes, classes)


def class_keys(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Turn class names into distinct parts of metric names, of letters, digits, spaces and ``_ - . :`` only."""
    keys = [re.sub(r"[^\w\-. :]", "_", name).strip(". ") or "class" for name in class_names]
    distinct: list[str] = []
    for index, key in enumerate(keys):
        candidate = key if keys.count(key) == 1 else f"{key}_{index}"
        while candidate != key and (candidate in keys or candidate in distinct):
            candidate += "_"
        distinct.append(candidate)
    return tuple(distinct)


def check_objective(
    metric: str,
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    healthy: str | None = None,
    ordered: bool = False,
) -> None:
    """Check that ``metric`` exists and is defined on ``targets`` (the labels of ``tune``).

    The training loss is refused because class weights, focal loss and label smoothing make it differ between trials.

    Raises:
        DataError: The metric is unknown, undefined or not comparable between trials.
    """
    uniform = np.full((len(targets), len(class_names)), 1 / len(class_names))
    known = classification_metrics(uniform, targets, class_names, healthy=healthy, ordered=ordered)
    if metric == "clinical" and healthy is None:
        raise DataError(
            f"the metric clinical needs a healthy class, but the space names none of {', '.join(class_names)}: "
            "set `healthy` in the space, or choose another metric"
        )
    if metric in (KAPPA, ABSOLUTE_ERROR) and not ordered:
        raise DataError(
            f"the metric {metric} needs grades, but {', '.join(class_names)} have no known order: set `ordered` in the "
            "space and leave out --unordered, or choose another metric"
        )
    if metric == "loss":
        raise DataError("the metric must be comparable between trials, but each has its own loss: choose log_loss")
    if metric not in known:
        raise DataError(unknown_metric(metric, known))
    if np.isnan(known[metric]):
        raise DataError(f"the metric {metric!r} is undefined on `tune`: it needs images of at least two classes there")


def _normalised(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


_METRICS: dict[str, Callable[[Resamples], NDArray[np.float64]]] = {
    "accuracy": lambda resamples: resamples.hits.sum(axis=1) / resamples.draws.sum(axis=1),
    "balanced_accuracy": lambda resamples: resamples.mean_over_classes(resamples.recall),
    "log_loss": _log_loss,
    "macro_precision": lambda resamples: resamples.mean_over_classes(resamples.precision),
    "macro_recall": lambda resamples: resamples.mean_over_classes(resamples.recall),
    "macro_f1": lambda resamples: resamples.mean_over_classes(resamples.f1),
    "average_precision": lambda resamples: _one_against_rest(resamples, average_precision),
    "auroc": lambda resamples: _one_against_rest(resamples, auroc),
}
