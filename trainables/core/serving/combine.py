"""How an ensemble makes one prediction of its members': the driver fits it, the registered model applies it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
# A probability of 0 would have no logarithm, and one of float32 knows nothing below.
_LEAST = 1e-7


@dataclass(frozen=True)
class Combination:
    """A way from (M, N, C) probabilities of members to (N, C).

    Attributes:
        kind: One of ``KINDS``:
            ``mean``: the weighted arithmetic mean of the probabilities, which others call the soft vote.
            ``geometric mean``: the weighted mean of their logarithms, normalised.
            ``confidence``: like ``mean``, with each weight times the member's confidence in that very image: 1 minus
            its entropy over that of a uniform prediction.
            ``majority``: each member has a vote, the class that it deems likeliest, and the mean of all members
            another, so that it decides where votes are equal.
            ``stacked``: a multinomial logistic regression on the logarithms of all probabilities.
        weights: (M,) of the members, which sum to 1. A stacked one does not apply them: there they show each member's
            share of the coefficients.
        temperatures: (M,) each member's probabilities are raised to 1 / T and normalised first (Guo et al. 2017).
        coefficients: (C, M * C) of a stacked one, member by member; else empty.
        intercept: (C,) of a stacked one; else empty.
    """

    kind: str
    weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...] = ()
    intercept: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where it is no combination."""
        if self.kind not in KINDS:
            raise ValueError(f"a combination's kind must be one of {', '.join(KINDS)}, but got {self.kind!r}")
        if len(self.temperatures) != len(self.weights) or min(self.temperatures) <= 0:
            raise ValueError(f"every member needs a temperature above 0, but got {self.temperatures}")
        if min(self.weights) < 0 or not np.isclose(sum(self.weights), 1):
            raise ValueError(f"weights must be at least 0 and sum to 1, but got {self.weights}")

    @classmethod
    def of(cls, weights: NDArray[np.floating], kind: str = "mean") -> Self:
        """One of (M,) weights, which are scaled to sum to 1, at temperature 1."""
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        return cls(kind, tuple(shares.tolist()), (1.0,) * len(shares))

    def apply(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combines (M, N, C) probabilities: (N, C), whose rows sum to 1."""
        if len(probabilities) != len(self.weights):
            raise ValueError(f"the combination is of {len(self.weights)} members, but got {len(probabilities)}")
        return _normalised(KINDS[self.kind](self, temper(probabilities, self.temperatures)))

    def voters(self) -> list[int]:
        """The members that have a vote, as positions."""
        return [position for position, weight in enumerate(self.weights) if weight > 0]

    def of_voters(self) -> Self:
        """The same combination of the voters alone."""
        if self.kind == "stacked":
            return self
        kept = self.voters()
        return dataclasses.replace(
            self,
            weights=tuple(self.weights[member] for member in kept),
            temperatures=tuple(self.temperatures[member] for member in kept),
        )

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """What ``to_dict`` gave, also after a way through JSON."""
        return cls(
            kind=raw["kind"],
            weights=tuple(raw["weights"]),
            temperatures=tuple(raw["temperatures"]),
            coefficients=tuple(map(tuple, raw["coefficients"])),
            intercept=tuple(raw["intercept"]),
        )


def temper(probabilities: Probabilities, temperatures: tuple[float, ...]) -> NDArray[np.float64]:
    """(M, N, C) probabilities at (M,) temperatures: above 1 less sure, below 1 surer, in the same order."""
    wide = np.asarray(probabilities, dtype=np.float64)
    if all(temperature == 1 for temperature in temperatures):
        return wide
    logits = np.log(np.maximum(wide, _LEAST)) / np.array(temperatures)[:, None, None]
    return _softmax(logits)


def confidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for a certain prediction, 0 for a uniform one: (...,) of (..., C) probabilities."""
    likely = np.maximum(probabilities, _LEAST)
    entropy = -(likely * np.log(likely)).sum(axis=-1)
    sure: NDArray[np.float64] = np.clip(1 - entropy / np.log(probabilities.shape[-1]), 0, 1)
    return sure


def log_features(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stacking regresses on: (N, M * C) logarithms of (M, N, C) probabilities, member by member."""
    members, images, classes = probabilities.shape
    logs = np.log(np.maximum(probabilities, _LEAST))
    return logs.transpose(1, 0, 2).reshape(images, members * classes)


def _mean(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.tensordot(np.array(combination.weights), probabilities, axes=1)
    return mean


def _geometric_mean(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.maximum(probabilities, _LEAST))
    return _softmax(np.tensordot(np.array(combination.weights), logs, axes=1))


def _by_confidence(combination: Combination, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    # Where no member knows anything of an image, all count as they do on the whole.
    share = np.array(combination.weights)[:, None] * np.maximum(confidence(probabilities), _LEAST)
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
