"""Operating points: the probability from which an image or a patient counts as positive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IMAGE, PATIENT = "image", "patient"


@dataclass(frozen=True)
class OperatingPoint:
    """Threshold that turns the probabilities of classes or labels into positive or negative.

    Probabilities and thresholds are compared as float32, as the served model returns them, so that the driver, the
    served model and a reader of its output decide alike.

    Attributes:
        positive: Name of the positive class or label, or a phrase such as ``any but NORMAL``.
        column: Class or label whose probability is read.
        complement: True if 1 minus that probability is compared, because the class is the healthy one of several.
        threshold: Lowest probability that counts as positive.
        rule: Rule that chose the threshold, such as ``youden`` or ``sensitivity=0.95``.
        unit: ``image`` or ``patient``: whose probabilities the threshold is for.
    """

    positive: str
    column: int
    complement: bool
    threshold: float
    rule: str
    unit: str = IMAGE

    def score(self, probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the (N,) float32 probabilities of being positive, from (N, C)."""
        of_column = np.asarray(probabilities)[:, self.column].astype(np.float32)
        return np.float32(1) - of_column if self.complement else of_column

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return (N,): True where (N, C) probabilities are positive."""
        return reaches(self.score(probabilities), self.threshold)

    def positives(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,): True where the truth is positive, from (N,) classes or (N, L) labels of 0 and 1."""
        has = labels[:, self.column] == 1 if labels.ndim == 2 else labels == self.column
        return np.asarray(has != self.complement)

    def describe(self) -> str:
        """Return, for example, ``PNEUMONIA if its probability is at least 0.412 (youden)``."""
        return f"{self.positive} if its probability is at least {shown_threshold(self.threshold)} ({self.rule})"


def disease_point(class_names: tuple[str, ...], healthy: str, threshold: float, rule: str, unit: str) -> OperatingPoint:
    """Return a point at which a disease counts as found.

    Of two classes, the one that is not healthy is positive. Of more, all but the healthy one are.
    """
    position = class_names.index(healthy)
    if len(class_names) == 2:
        return OperatingPoint(class_names[1 - position], 1 - position, False, threshold, rule, unit)
    return OperatingPoint(f"any but {healthy}", position, True, threshold, rule, unit)


def shown_threshold(threshold: float) -> str:
    """Return a threshold with three decimals, or with as many as tell it from 0 and 1."""
    texts = (f"{threshold:.{digits}f}" for digits in range(3, 10))
    return next((text for text in texts if threshold in (0, 1) or float(text) not in (0, 1)), f"{threshold:.3g}")


def reaches(probabilities: NDArray[np.floating], thresholds: object) -> NDArray[np.bool_]:
    """Return True where probabilities are at least their threshold, both as float32."""
    return np.asarray(probabilities, dtype=np.float32) >= np.asarray(thresholds, dtype=np.float32)
