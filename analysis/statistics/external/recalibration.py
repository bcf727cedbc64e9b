"""Recalibration of probabilities on a part of the new images: a temperature and biases (Guo et al. 2017).

The truth is ``smoothed_targets``, so that no probability is more certain than the number of images can say.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from analysis.statistics.calibration import smoothed_targets
from analysis.statistics.resampling import Probabilities, Sample

_LEAST = 1e-7


@dataclass(frozen=True)
class Recalibration:
    """Map of probabilities: logarithms are divided by a temperature, and biases are added.

    Attributes:
        temperatures: One temperature for classes that exclude each other; one for each of independent labels.
        biases: (C,) biases of the classes or labels. Those of classes sum to 0.
    """

    temperatures: tuple[float, ...]
    biases: tuple[float, ...]

    def apply(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Recalibrate (N, C) probabilities."""
        temperatures, biases = np.array(self.temperatures), np.array(self.biases)
        if len(temperatures) == 1 and len(biases) > 1:
            return np.asarray(softmax(_logs(probabilities) / temperatures + biases, axis=1))
        return np.asarray(expit(_logits(probabilities) / temperatures + biases))


def recalibrated_classes(probabilities: Probabilities, labels: NDArray[np.int64]) -> Recalibration:
    """Fit one temperature and C biases to (N, C) probabilities of classes, by the likelihood of (N,) labels."""
    logs, classes = _logs(probabilities), probabilities.shape[1]
    targets = smoothed_targets(labels, classes)

    def loss(parameters: NDArray[np.float64]) -> float:
        scores = logs * np.exp(parameters[0]) + np.append(parameters[1:], -parameters[1:].sum())
        return float(-(targets * log_softmax(scores, axis=1)).sum(axis=1).mean()) + _penalty(parameters)

    fitted = minimize(loss, np.zeros(classes), method="BFGS").x
    return Recalibration((float(np.exp(-fitted[0])),), (*map(float, fitted[1:]), float(-fitted[1:].sum())))


def recalibrated_labels(probabilities: Probabilities, labels: NDArray[np.int64]) -> Recalibration:
    """Fit a temperature and a bias to the (N, L) probabilities of each label, by the likelihood of (N, L) labels."""
    parts = [_of_label(logits, truth) for logits, truth in zip(_logits(probabilities).T, labels.T, strict=True)]
    return Recalibration(tuple(part[0] for part in parts), tuple(part[1] for part in parts))


def _of_label(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    targets = smoothed_targets(truth, 2)[:, 1]

    def loss(parameters: NDArray[np.float64]) -> float:
        scores = logits * np.exp(parameters[0]) + parameters[1]
        return float((np.logaddexp(0, scores) - targets * scores).mean()) + _penalty(parameters)

    scale, bias = minimize(loss, np.zeros(2), method="BFGS").x
    return float(np.exp(-scale)), float(bias)


def part_for_fitting(sample: Sample, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Return (N,) True for a share of the groups of each class (``Sample.group_classes``), drawn at random."""
    generator = np.random.default_rng([seed, 33])
    chosen = np.zeros(len(sample.members), dtype=bool)
    for label in np.unique(sample.group_classes):
        groups = generator.permutation(np.flatnonzero(sample.group_classes == label))
        chosen[groups[: round(share * len(groups))]] = True
    return chosen[sample.group_of]


def _penalty(parameters: NDArray[np.float64]) -> float:
    """Return a penalty that keeps parameters finite where a class is missing or all probabilities are equal."""
    return 1e-5 * float(parameters @ parameters)


def _logs(probabilities: Probabilities) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _LEAST)))


def _logits(probabilities: Probabilities) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
