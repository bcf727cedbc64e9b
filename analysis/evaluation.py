"""The sealed test set, opened for one ensemble and its members: every metric, the confusion matrix, the report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix

from analysis.ensembles import combine
from trainables.core.metrics import absent_classes, classification_metrics


@dataclass(frozen=True)
class Evaluation:
    """Scores on ``test``.

    Attributes:
        ensemble: The ensemble's metrics.
        members: Each member's metrics, in order.
        confusion: (C, C) int counts, true classes in rows.
        report: scikit-learn's classification report of the ensemble.
        absent: Classes without a test image.
    """

    ensemble: dict[str, float]
    members: tuple[dict[str, float], ...]
    confusion: NDArray[np.int64]
    report: str
    absent: tuple[str, ...]


def evaluate(
    probabilities: NDArray[np.floating],
    weights: NDArray[np.float64],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
) -> Evaluation:
    """Scores an ensemble and its members.

    Args:
        probabilities: (M, N, C) of the members on ``test``.
        weights: (M,) of the ensemble.
        labels: (N,) true classes.
        class_names: C names.
    """
    combined = combine(probabilities, weights)
    predicted = combined.argmax(axis=1)
    classes = range(len(class_names))
    return Evaluation(
        ensemble=classification_metrics(combined, labels, class_names),
        members=tuple(classification_metrics(member, labels, class_names) for member in probabilities),
        confusion=confusion_matrix(labels, predicted, labels=classes),
        report=classification_report(labels, predicted, labels=classes, target_names=class_names, zero_division=0),
        absent=absent_classes(labels, class_names),
    )
