"""Rules that combine the members' predictions: fitted by the driver, applied by the registered model."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import OperatingPoint
from trainables.core.serving.prediction_sets import PredictionSets

Probabilities = NDArray[np.floating]
# Lower bound before taking logarithms, about the resolution of float32.
MIN_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Combination:
    """Fitted rule that combines (M, N, C) probabilities of M members to (N, C).

    Attributes:
        kind: One of ``KINDS``:
            ``mean``: weighted arithmetic mean of the probabilities, also called soft voting.
            ``geometric mean``: weighted mean of the log probabilities, normalised.
            ``confidence``: like ``mean``, with each weight multiplied by the member's confidence in the image: 1 minus
            the ratio of its entropy to that of a uniform prediction.
            ``majority``: each member votes for its most likely class. The mean of all members has one more vote, which
            decides ties.
            ``stacked``: multinomial logistic regression on the log probabilities of all members.
        weights: (M,) member weights, which sum to 1. ``stacked`` does not apply them; there they are each member's
            share of the coefficients.
        temperatures: (M,) temperatures T. Probabilities are first raised to 1 / T and normalised (Guo et al. 2017).
        coefficients: (C, M * C) coefficients of ``stacked``, ordered by member; else empty.
        intercept: (C,) intercepts of ``stacked``; else empty.
        patients: Rule that combines the results for the images of one patient.
        points: Operating points of images and of patients; empty without a healthy class.
        sets: Prediction sets of images and of patients; empty if there were too few groups to calibrate them.
        sets_kind: Class of these.
    """

    sets_kind: ClassVar[type[PredictionSets]] = PredictionSets
    kind: str
    weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...] = ()
    intercept: tuple[float, ...] = ()
    patients: PatientRule = field(default_factory=PatientRule)
    points: tuple[OperatingPoint, ...] = ()
    sets: tuple[PredictionSets, ...] = ()

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is not allowed.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, but got {self.kind!r}")
        if len(self.temperatures) != len(self.weights) or min(self.temperatures) <= 0:
            raise ValueError(f"each member needs a temperature above 0, but got {self.temperatures}")
        if min(self.weights) < 0 or not np.isclose(sum(self.weights), 1):
            raise ValueError(f"weights must be at least 0 and sum to 1, but got {self.weights}")

    @classmethod
    def of(cls, weights: NDArray[np.floating], kind: str = "mean") -> Self:
        """Build a combination from (M,) weights, which are scaled to sum to 1, with all temperatures 1."""
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        return cls(kind, tuple(shares.tolist()), (1.0,) * len(shares))

    def apply(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combine (M, N, C) probabilities to (N, C), with rows that sum to 1."""
        if len(probabilities) != len(self.weights):
            raise ValueError(f"predictions must be of {len(self.weights)} members, but got {len(probabilities)}")
        return _normalised(KINDS[self.kind](self, temper(probabilities, self.temperatures)))

    def scorable(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combine (M, N, C) probabilities to the predictions that metrics score."""
        return self.apply(probabilities)

    def of_member(self, position: int) -> "Combination":  # noqa: ARG002
        """Return the combination that makes one of the members an ensemble of its own, with the same patient rule."""
        return dataclasses.replace(Combination.of(np.ones(1)), patients=self.patients)

    def operating_points(self, class_names: Sequence[str]) -> tuple[OperatingPoint, ...]:  # noqa: ARG002
        """Return the thresholds from which an image, a patient, or a label of an image counts as positive."""
        return self.points

    def point_of(self, unit: str) -> OperatingPoint | None:
        """Return the operating point of a disease, for ``image`` or ``patient``; None without one."""
        return next((point for point in self.points if point.unit == unit), None)

    def sets_of(self, unit: str) -> PredictionSets | None:
        """Return the prediction sets of ``image`` or ``patient``; None without them."""
        return next((sets for sets in self.sets if sets.unit == unit), None)

    def decides_on(self, unit: str) -> bool:
        """Return True if there are operating points or prediction sets of ``image`` or ``patient``."""
        return self.point_of(unit) is not None or self.sets_of(unit) is not None

    def of_combined(self, columns: NDArray[np.int64]) -> "Combination":  # noqa: ARG002
        """Return the combination that leaves (1, N, C) combined predictions as they are, with the same thresholds.

        Args:
            columns: Labels to score. Classes that exclude each other are always scored together.
        """
        return dataclasses.replace(
            Combination.of(np.ones(1)), patients=self.patients, points=self.points, sets=self.sets
        )

    def voters(self) -> list[int]:
        """Return the positions of the members with a weight above 0."""
        return [position for position, weight in enumerate(self.weights) if weight > 0]

    def of_voters(self) -> Self:
        """Return the same combination without the members that have no vote."""
        if self.kind == "stacked":
            return self
        voters = self.voters()
        return dataclasses.replace(
            self,
            weights=tuple(self.weights[member] for member in voters),
            temperatures=tuple(self.temperatures[member] for member in voters),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the rule of the voting members, with its thresholds and prediction sets."""
        return hashlib.sha256(json.dumps(self.of_voters().to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Parse the result of ``to_dict``, as it is or read back from JSON."""
        return cls(
            kind=raw["kind"],
            weights=tuple(raw["weights"]),
            temperatures=tuple(raw["temperatures"]),
            coefficients=tuple(map(tuple, raw["coefficients"])),
            intercept=tuple(raw["intercept"]),
            patients=PatientRule(**raw.get("patients", {})),  # models of earlier versions have none of these
            points=tuple(OperatingPoint(**point) for point in raw.get("points", ())),
            sets=tuple(map(cls.sets_kind.from_dict, raw.get("sets", ()))),
        )


def temper(probabilities: Probabilities, temperatures: tuple[float, ...]) -> NDArray[np.float64]:
    """Apply (M,) temperatures to (M, N, C) probabilities: above 1 flattens, below 1 sharpens; the order stays."""
    wide = np.asarray(probabilities, dtype=np.float64)
    if all(temperature == 1 for temperature in temperatures):
        return wide
    logits = np.log(np.maximum(wide, MIN_PROBABILITY)) / np.array(temperatures)[:, None, None]
    return _softmax(logits)


def confidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (...,) confidence of (..., C) probabilities: 1 for a certain prediction, 0 for a uniform one."""
    clipped = np.maximum(probabilities, MIN_PROBABILITY)
    entropy = -(clipped * np.log(clipped)).sum(axis=-1)
    share: NDArray[np.float64] = np.clip(1 - entropy / np.log(probabilities.shape[-1]), 0, 1)
    return share


def log_features(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the features of stacking: the (N, M * C) logarithms of (M, N, C) probabilities, ordered by member."""
    members, images, classes = probabilities.shape
    logs = np.log(np.maximum(probabilities, MIN_PROBABILITY))
    return logs.transpose(1, 0, 2).reshape(images, members * classes)


def _mean(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.tensordot(np.array(combination.weights), probabilities, axes=1)
    return mean


def _geometric_mean(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.maximum(probabilities, MIN_PROBABILITY))
    return _softmax(np.tensordot(np.array(combination.weights), logs, axes=1))


def _by_confidence(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    # With the lower bound, members that are all undecided on an image count by their weights.
    share = np.array(combination.weights)[:, None] * np.maximum(confidence(probabilities), MIN_PROBABILITY)
    mean: NDArray[np.float64] = np.einsum("mn,mnc->nc", share, probabilities)
    return mean


def _majority(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    votes = np.eye(probabilities.shape[2])[probabilities.argmax(axis=2)]
    return len(combination.voters()) * _mean(combination, votes) + _mean(combination, probabilities)


def _stacked(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = log_features(probabilities) @ np.array(combination.coefficients).T + np.array(combination.intercept)
    return _softmax(logits)


KINDS: dict[str, Callable[[Combination, NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": _mean,
    "geometric mean": _geometric_mean,
    "confidence": _by_confidence,
    "majority": _majority,
    "stacked": _stacked,
}


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return _normalised(odds)


def _normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return shares
