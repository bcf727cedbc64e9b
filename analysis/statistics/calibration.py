"""Whether probabilities mean what they say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The images whose likeliest class has a probability within (``above``, ``up_to``].

    Attributes:
        above: Lower edge.
        up_to: Upper edge.
        count: Images, at least 1.
        confidence: The mean of these probabilities.
        accuracy: The share that is right.
    """

    above: float
    up_to: float
    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Probabilities, labels: NDArray[np.int64], bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of a reliability diagram, equally wide, without empty ones, of (N, C) and (N,)."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    return tuple(
        Bin(
            float(edges[index]),
            float(edges[index + 1]),
            int((place == index).sum()),
            float(sure[place == index].mean()),
            float(right[place == index].mean()),
        )
        for index in np.unique(place)
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """The mean distance of confidence and accuracy, bins weighted by their images (Naeini et al. 2015)."""
    total = sum(bin_.count for bin_ in bins)
    return sum(bin_.count * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / total


def brier_scores(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) squared distances of (N, C) probabilities from the truth, summed over classes: 0 to 2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    distances: NDArray[np.float64] = np.square(probabilities - truth).sum(axis=1)
    return distances
