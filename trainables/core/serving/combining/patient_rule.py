"""Rules that combine the predictions for a patient's images: chosen by the driver, applied by the registered model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Lower bound before taking logarithms, about the resolution of float32.
_MIN_PROBABILITY = 1e-7
_Rule = Callable[[NDArray[np.float64], NDArray[np.int64], int | None], NDArray[np.float64]]


@dataclass(frozen=True)
class PatientRule:
    """Rule that combines (N, C) probabilities of classes or labels of images to those of their patients.

    Attributes:
        kind: One of ``PATIENT_RULES``:
            ``mean``: mean of the probabilities.
            ``geometric-mean``: mean of the log probabilities, normalised.
            ``any-lesion``: probabilities of the image that is least likely to be healthy.
            ``max``: highest probability of each label, whatever the image (Irvin et al. 2019); not for classes.
        healthy: Class without a disease, which only ``any-lesion`` needs.
    """

    kind: str = "mean"
    healthy: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is not allowed.
        """
        if self.kind not in PATIENT_RULES:
            raise ValueError(f"kind must be one of {', '.join(PATIENT_RULES)}, but got {self.kind!r}")
        if self.kind == _ANY_LESION and self.healthy is None:
            raise ValueError(f"{_ANY_LESION} needs a healthy class, but there is none")

    def apply(self, probabilities: NDArray[np.floating], patients: NDArray[np.int64]) -> NDArray[np.float64]:
        """Combine the probabilities of each patient's images.

        Args:
            probabilities: (N, C); the rows of classes sum to 1.
            patients: (N,) patient of each image.

        Returns:
            (P, C) probabilities, in the order of ``np.unique(patients)``.
        """
        position = np.unique(patients, return_inverse=True)[1]
        return PATIENT_RULES[self.kind](np.asarray(probabilities, dtype=np.float64), position, self.healthy)


def patient_rules(healthy: int | None) -> tuple[PatientRule, ...]:
    """Return the rules for classes that can be chosen from, the default first."""
    kinds = ["mean", "geometric-mean", *([_ANY_LESION] if healthy is not None else [])]
    return tuple(PatientRule(kind, healthy) for kind in kinds)


def _mean(values: NDArray[np.float64], position: NDArray[np.int64], healthy: int | None) -> NDArray[np.float64]:  # noqa: ARG001
    sums = np.zeros((int(position.max()) + 1, values.shape[1]))
    np.add.at(sums, position, values)
    return sums / np.bincount(position)[:, None]


def _geometric_mean(
    values: NDArray[np.float64], position: NDArray[np.int64], healthy: int | None
) -> NDArray[np.float64]:
    logs = _mean(np.log(np.maximum(values, _MIN_PROBABILITY)), position, healthy)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return shares


def _any_lesion(values: NDArray[np.float64], position: NDArray[np.int64], healthy: int | None) -> NDArray[np.float64]:
    order = np.lexsort((values[:, healthy or 0], position))
    return values[order[np.unique(position[order], return_index=True)[1]]]


def _max(values: NDArray[np.float64], position: NDArray[np.int64], healthy: int | None) -> NDArray[np.float64]:  # noqa: ARG001
    highest = np.full((int(position.max()) + 1, values.shape[1]), -np.inf)
    np.maximum.at(highest, position, values)
    return highest


_ANY_LESION = "any-lesion"
# No rule has parameters, so each can be scored on the images that it is applied to.
PATIENT_RULES: dict[str, _Rule] = {
    "mean": _mean,
    "geometric-mean": _geometric_mean,
    _ANY_LESION: _any_lesion,
    "max": _max,
}
# Rules for labels that can be chosen from, the default first.
LABEL_PATIENT_RULES = (PatientRule("mean"), PatientRule("max"))
