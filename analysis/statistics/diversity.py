"""Diversity of an ensemble: models that err on the same images do not complement each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities


@dataclass(frozen=True)
class Diversity:
    """Pairwise diversity of M members.

    Attributes:
        disagreement: (M, M) share of images that two members predict differently.
        error_correlation: (M, M) Pearson correlation of two members' errors; None if one is never or always wrong.
    """

    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float | None, ...], ...]

    @property
    def mean_disagreement(self) -> float | None:
        """The mean over all pairs; None with one member."""
        return _mean_of_pairs(self.disagreement)

    @property
    def mean_error_correlation(self) -> float | None:
        """The mean over the pairs that have a correlation; None without any."""
        return _mean_of_pairs(self.error_correlation)


def diversity(probabilities: Probabilities, labels: NDArray[np.int64]) -> Diversity:
    """Compute the diversity from (M, N, C) probabilities and (N,) true classes."""
    return answer_diversity(probabilities.argmax(axis=2), labels)


def answer_diversity(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Diversity:
    """Compute the diversity from (M, N) answers of any kind and the (N,) true ones."""
    disagreement = (predicted[:, None] != predicted[None]).mean(axis=2)
    wrong = (predicted != labels).astype(np.float64)
    spread = wrong.std(axis=1)
    centred = wrong - wrong.mean(axis=1, keepdims=True)
    covariance, scale = centred @ centred.T / len(labels), np.outer(spread, spread)
    correlation = [
        tuple(float(value / size) if size > 0 else None for value, size in zip(row, sizes, strict=True))
        for row, sizes in zip(covariance, scale, strict=True)
    ]
    return Diversity(tuple(map(tuple, disagreement.tolist())), tuple(correlation))


def _mean_of_pairs(matrix: tuple[tuple[float | None, ...], ...]) -> float | None:
    pairs = [value for row, values in enumerate(matrix) for value in values[:row] if value is not None]
    return float(np.mean(pairs)) if pairs else None
