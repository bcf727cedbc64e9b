"""Prediction sets: all classes that a prediction does not rule out, by thresholds that the driver calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.operating_point import IMAGE, reaches

SEPARATOR = "|"


@dataclass(frozen=True)
class PredictionSets:
    """Thresholds from which each class belongs to the set of an image or a patient.

    Attributes:
        coverage: Promised share of sets with the true class, for groups like those it was calibrated on.
        thresholds: (C,) lowest probability with which each class is in the set, compared as float32.
        by_class: True if the promise holds for each true class, False if only on average over the classes.
        unit: ``image`` or ``patient``: what the sets are of.
    """

    coverage: float
    thresholds: tuple[float, ...]
    by_class: bool
    unit: str = IMAGE

    def contain(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return (N, C): True for the classes in the set of each of (N, C) probabilities; a set may be empty."""
        return reaches(probabilities, self.thresholds)

    def describe(self) -> str:
        """Return, for example, ``90% coverage of each class``."""
        return f"{self.coverage:.0%} coverage {'of each class' if self.by_class else 'on average over the classes'}"


def describe_set(contained: NDArray[np.bool_], class_names: Sequence[str]) -> str:
    """Return the (C,) classes in a set, separated by ``|``; "" if it is empty."""
    return SEPARATOR.join(name for name, inside in zip(class_names, contained, strict=True) if inside)
