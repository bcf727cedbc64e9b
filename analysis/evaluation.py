"""The sealed test set, opened for one ensemble and its members: every metric, the confusion matrix, the report."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import classification_report, confusion_matrix

from analysis.ensembles import combine
from trainables.core.metrics import absent_classes, classification_metrics


@dataclass(frozen=True)
class Scores:
    """One model on ``test``.

    Attributes:
        metrics: Of ``classification_metrics``.
        confusion: (C, C) counts, true classes in rows.
        report: scikit-learn's classification report.
    """

    metrics: dict[str, float]
    confusion: list[list[int]]
    report: str


@dataclass(frozen=True)
class Evaluation:
    """An ensemble and its members on ``test``, and the classes of which ``test`` has no image."""

    ensemble: Scores
    members: tuple[Scores, ...]
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, for the study."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What ``to_dict`` gave, also after a way through JSON."""
        members = tuple(Scores(**member) for member in raw["members"])
        return cls(Scores(**raw["ensemble"]), members, tuple(raw["absent"]))


def score(probabilities: NDArray[np.floating], labels: NDArray[np.int64], class_names: tuple[str, ...]) -> Scores:
    """Scores (N, C) probabilities against (N,) true classes."""
    predicted, classes = probabilities.argmax(axis=1), range(len(class_names))
    return Scores(
        metrics=classification_metrics(probabilities, labels, class_names),
        confusion=confusion_matrix(labels, predicted, labels=classes).tolist(),
        report=classification_report(labels, predicted, labels=classes, target_names=class_names, zero_division=0),
    )


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
    return Evaluation(
        ensemble=score(combine(probabilities, weights), labels, class_names),
        members=tuple(score(member, labels, class_names) for member in probabilities),
        absent=absent_classes(labels, class_names),
    )
