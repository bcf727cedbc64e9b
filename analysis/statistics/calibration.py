"""Calibration: does a probability of 0.8 mean that 80% are right?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The images whose highest class probability is in (``above``, ``up_to``].

    Attributes:
        above: Lower edge.
        up_to: Upper edge.
        count: Number of images, at least 1.
        confidence: Mean of these probabilities.
        accuracy: Share of correct predictions.
    """

    above: float
    up_to: float
    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Probabilities, labels: NDArray[np.int64], bins: int = BINS) -> tuple[Bin, ...]:
    """Return the bins of a reliability diagram: equal widths, without empty bins.

    Args:
        probabilities: (N, C) probabilities.
        labels: (N,) true classes.
        bins: Number of bins in [0, 1].
    """
    return binned(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)


def binned(confidence: Probabilities, correct: NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Return the bins of any probabilities and whether each came true, both (N,), without empty bins."""
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return tuple(
        Bin(
            float(edges[index]),
            float(edges[index + 1]),
            int((bin_of == index).sum()),
            float(confidence[bin_of == index].mean()),
            float(correct[bin_of == index].mean()),
        )
        for index in np.unique(bin_of)
    )


def smoothed_targets(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the (N, C) probabilities to fit a calibration to: the truth is a little less than certain.

    With labels as they are, a fit to separated classes would make every probability 0 or 1. After N of N right
    predictions, the next one is right with a probability of (N + 1) / (N + 2), by the rule of succession; Platt (1999)
    fits to these values. He counts each class by itself, which flattens the probabilities of rare classes too much.

    Args:
        labels: (N,) classes.
        classes: C.
    """
    rest = 1 / (len(labels) + 2)
    targets: NDArray[np.float64] = np.where(np.eye(classes)[labels] == 1, 1 - rest, rest / (classes - 1))
    return targets


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the mean distance between confidence and accuracy, weighted by images (Naeini et al. 2015)."""
    total = sum(bin_.count for bin_ in bins)
    return sum(bin_.count * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / total


def brier_scores(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N,) squared distances between (N, C) probabilities and the one-hot truth: 0 to 2 (Brier 1950)."""
    one_hot = np.eye(probabilities.shape[1])[labels]
    distances: NDArray[np.float64] = np.square(probabilities - one_hot).sum(axis=1)
    return distances
