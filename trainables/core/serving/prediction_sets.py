"""Prediction sets: what a prediction does not rule out, by thresholds that the driver calibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.operating_point import IMAGE, reaches

SEPARATOR = "|"


@dataclass(frozen=True)
class PredictionSets:
    """Thresholds from which each class belongs to the set of an image or a patient.

    Attributes:
        columns: Attributes of a prediction that ``attributes`` gives.
        coverage: Promised share of sets with the true class, for groups like those it was calibrated on.
        thresholds: (C,) lowest probability with which each class is in the set, compared as float32.
        by_class: True if the promise holds for each true class, False if only on average over the classes.
        unit: ``image`` or ``patient``: what the sets are of.
    """

    columns: ClassVar[tuple[str, ...]] = ("prediction_set", "abstain")
    coverage: float
    thresholds: tuple[float, ...]
    by_class: bool
    unit: str = IMAGE

    def contain(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return (N, C): True for the classes in the set of each of (N, C) probabilities; a set may be empty."""
        return reaches(probabilities, self.thresholds)

    def attributes(self, probabilities: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:
        """Return the attributes of a prediction that follow from (C,) probabilities."""
        contained = self.contain(probabilities[None])[0]
        return {"prediction_set": _named(contained, class_names), "abstain": int(contained.sum()) != 1}

    def describe(self) -> str:
        """Return, for example, ``90% coverage of each class``."""
        per = "of each class" if self.by_class else "on average over the classes"
        return f"{100 * self.coverage:g}% coverage {per}"

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from a dict of the attributes, also after JSON."""
        attributes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()
        }
        return cls(**attributes)


@dataclass(frozen=True)
class LabelSets(PredictionSets):
    """Thresholds from which the presence, and the absence, of each label is not ruled out.

    A label whose two thresholds are 0 was not calibrated, because too few groups have it or lack it; nothing is ruled
    out for it.

    Attributes:
        thresholds: (L,) lowest probability with which each label may be present.
        absent_thresholds: (L,) lowest 1 minus the probability with which each label may be absent.
    """

    columns: ClassVar[tuple[str, ...]] = ("prediction_set", "undecided")
    absent_thresholds: tuple[float, ...] = ()

    @property
    def calibrated(self) -> NDArray[np.int64]:
        """Positions of the labels that were calibrated."""
        return np.flatnonzero(np.maximum(self.thresholds, self.absent_thresholds))

    def may_be_absent(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return (N, L): True where (N, L) probabilities do not rule out that the label is absent."""
        return reaches(np.float32(1) - np.asarray(probabilities, dtype=np.float32), self.absent_thresholds)

    def undecided(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return (N, L): True where both presence and absence of a label are possible, or neither is likely enough."""
        return np.equal(self.contain(probabilities), self.may_be_absent(probabilities))

    def attributes(self, probabilities: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, Any]:
        """Return the attributes of a prediction that follow from (L,) probabilities."""
        rows = probabilities[None]
        return {
            "prediction_set": _named(self.contain(rows)[0], class_names),
            "undecided": _named(self.undecided(rows)[0], class_names),
        }

    def of_labels(self, positions: Sequence[int]) -> Self:
        """Return the sets of some of the labels."""
        absent = tuple(self.absent_thresholds[position] for position in positions)
        kept = tuple(self.thresholds[position] for position in positions)
        return type(self)(self.coverage, kept, self.by_class, self.unit, absent)

    def describe(self) -> str:
        """Return, for example, ``90% coverage of 3 of 4 labels, whether present or absent``."""
        return (
            f"{100 * self.coverage:g}% coverage of {len(self.calibrated)} of {len(self.thresholds)} labels, whether "
            "present or absent"
        )


def _named(contained: NDArray[np.bool_], class_names: Sequence[str]) -> str:
    """Return the (C,) classes in a set, separated by ``|``; "" if it is empty."""
    return SEPARATOR.join(name for name, inside in zip(class_names, contained, strict=True) if inside)
