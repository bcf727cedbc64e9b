"""Metrics of several labels per image, as scikit-learn defines them, averaged over the labels that define them."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError
from trainables.core.metric_names import unknown_metric
from trainables.core.training.metrics.classification_metrics import class_keys, resampled_mean
from trainables.core.training.metrics.threshold_metrics import auroc, average_precision, threshold_counts

THRESHOLD = 0.5  # of labels without a fitted threshold
_Metric = Callable[[], NDArray[np.float64]]


def multi_label_metrics(
    predictions: NDArray[np.floating],
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    only: str | None = None,
) -> dict[str, float]:
    """Score predictions of L labels.

    Args:
        predictions: (N, L) probabilities; or (N, 2L), with the decisions, 0 or 1, after the probabilities. Without
            decisions, a label is predicted from a probability of 0.5.
        targets: (N, L) of 0 and 1.
        class_names: L names.
        only: Name of a single metric to compute; None computes all.

    Returns:
        ``auroc``, ``average_precision`` and ``macro_f1``, averaged over the labels that some, but not all images have;
        NaN if there is no such label. ``log_loss``, the mean binary cross-entropy over images and labels. For each of
        these labels ``auroc/<label>``, ``average_precision/<label>``, ``precision/<label>`` and ``f1/<label>``, and for
        each that an image has ``recall/<label>``, named by ``class_keys``. A precision without any prediction of its
        label is 0.

    Raises:
        DataError: There are no images.
    """
    if len(targets) == 0:
        raise DataError("metrics need at least one image, but got none")
    once = np.ones((1, len(targets)), dtype=np.int64)
    metrics = resampled_multi_label_metrics(predictions, targets, class_names, once, only)
    return {name: float(value[0]) for name, value in metrics.items() if "/" not in name or not np.isnan(value[0])}


def resampled_multi_label_metrics(
    predictions: NDArray[np.floating],
    targets: NDArray[np.int64],
    class_names: tuple[str, ...],
    draws: NDArray[np.int64],
    only: str | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Compute ``multi_label_metrics`` of R resamples at once.

    Args:
        predictions: (N, L) or (N, 2L), as in ``multi_label_metrics``.
        targets: (N, L) of 0 and 1.
        class_names: L names.
        draws: (R, N) how often each resample draws each image, with at least one image per row.
        only: Name of a single metric to compute; None computes all.

    Returns:
        (R,) values of each metric. The metrics of a label are NaN for resamples that do not define them.
    """
    labels = len(class_names)
    probabilities, decisions = predictions[:, :labels], predictions[:, labels:]
    decided = (decisions if decisions.size else probabilities) >= THRESHOLD
    of_labels = _LabelMetrics(probabilities, decided, targets == 1, draws)
    metrics: dict[str, _Metric] = {
        "auroc": partial(_macro, of_labels.auroc, labels),
        "average_precision": partial(_macro, of_labels.average_precision, labels),
        "macro_f1": partial(_macro, of_labels.f1, labels),
        "log_loss": partial(_log_loss, probabilities, targets, draws),
    }
    for label, key in enumerate(class_keys(class_names)):
        for name in ("auroc", "average_precision", "precision", "recall", "f1"):
            metrics[f"{name}/{key}"] = partial(getattr(of_labels, name), label)
    return {name: compute() for name, compute in metrics.items() if only in (None, name)}


class _LabelMetrics:
    """Metrics of one label at a time on R resamples: (R,) each, NaN where undefined."""

    def __init__(
        self,
        probabilities: NDArray[np.floating],
        decided: NDArray[np.bool_],
        present: NDArray[np.bool_],
        draws: NDArray[np.int64],
    ):
        self._probabilities, self._decided, self._present, self._draws = probabilities, decided, present, draws
        self._thresholds = cache(self._count_thresholds)
        self._positives: NDArray[np.int64] = draws @ present
        # Only of images with and without a label can a prediction of it be wrong.
        self._mixed = (self._positives > 0) & (self._positives < draws.sum(axis=1, keepdims=True))

    def _count_thresholds(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return threshold_counts(self._present[:, label], self._probabilities[:, label], self._draws)

    def auroc(self, label: int) -> NDArray[np.float64]:
        return np.where(self._mixed[:, label], auroc(*self._thresholds(label)), np.nan)

    def average_precision(self, label: int) -> NDArray[np.float64]:
        return np.where(self._mixed[:, label], average_precision(*self._thresholds(label)), np.nan)

    def precision(self, label: int) -> NDArray[np.float64]:
        return self._ratio(label, self._draws @ self._decided[:, label], self._mixed[:, label])

    def recall(self, label: int) -> NDArray[np.float64]:
        positives = self._positives[:, label]
        return self._ratio(label, positives, positives > 0)

    def f1(self, label: int) -> NDArray[np.float64]:
        total = (self._draws @ self._decided[:, label] + self._positives[:, label]) / 2
        return self._ratio(label, total, self._mixed[:, label])

    def _ratio(self, label: int, total: NDArray[np.number], defined: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Divide the label's hits by a total; 0 if that is 0, and NaN where the ratio is not defined."""
        hits = self._draws @ (self._decided[:, label] & self._present[:, label])
        return np.where(defined, hits / np.maximum(total, 0.5), np.nan)


def _macro(metric: Callable[[int], NDArray[np.float64]], labels: int) -> NDArray[np.float64]:
    """Average a metric over the labels that define it in each resample."""
    values = np.stack([metric(label) for label in range(labels)])
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.where(defined.any(axis=0), total / np.maximum(defined.sum(axis=0), 1), np.nan)


def label_log_losses(probabilities: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the (N,) binary cross-entropies of (N, L) probabilities, averaged over labels."""
    wide = probabilities.astype(np.float64)
    likelihoods = np.where(targets == 1, wide, 1 - wide)
    losses: NDArray[np.float64] = -np.log(np.maximum(likelihoods, np.finfo(np.float64).eps)).mean(axis=1)
    return losses


def _log_loss(
    probabilities: NDArray[np.floating], targets: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    return resampled_mean(label_log_losses(probabilities, targets), draws)


def check_label_objective(metric: str, targets: NDArray[np.int64], class_names: tuple[str, ...]) -> None:
    """Check that ``metric`` exists and is defined on ``targets`` (the labels of ``tune``).

    Raises:
        DataError: The metric is unknown, undefined or not comparable between trials.
    """
    known = multi_label_metrics(np.full(targets.shape, THRESHOLD), targets, class_names)
    if metric == "loss":
        raise DataError("the metric must be comparable between trials, but each has its own loss: choose log_loss")
    if metric not in known:
        raise DataError(unknown_metric(metric, known, "LABEL"))
    if np.isnan(known[metric]):
        raise DataError(
            f"the metric {metric!r} is undefined on `tune`: it needs a label that some, but not all images have there"
        )
