"""Remedies for class imbalance: class weights for the loss, and samplers that choose the images of an epoch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Weights = NDArray[np.float64]


def _balanced(counts: Counts) -> Weights:
    """Compute scikit-learn's "balanced" weights: N / (C * count)."""
    return np.asarray(counts.sum() / (len(counts) * counts))


def _sqrt(counts: Counts) -> Weights:
    """Compute the square root of the balanced weights."""
    return np.sqrt(_balanced(counts))


def _effective(counts: Counts) -> Weights:
    """Compute the inverse effective number of samples with beta = 0.999 (Cui et al. 2019)."""
    beta = 0.999
    return np.asarray((1 - beta) / (1 - beta**counts))


def _boosted(counts: Counts) -> Weights:
    """Compute the inverse frequency, multiplied by 1.3 for the rarest class, or for all that are equally rare."""
    weights = 1 / counts
    weights[counts == counts.min()] *= 1.3
    return weights


def _frequency(counts: Counts) -> Weights:
    """Return the frequency itself, which favours the majority; a published recipe uses it."""
    return counts.astype(np.float64)


CLASS_WEIGHTS: dict[str, Callable[[Counts], Weights] | None] = {
    "none": None,
    "balanced": _balanced,
    "sqrt": _sqrt,
    "effective": _effective,
    "boosted": _boosted,
    "frequency": _frequency,
}

# Power of 1 / class count that gives the odds of drawing an image; None uses each image once.
SAMPLERS: dict[str, float | None] = {"shuffle": None, "weighted": 1.0, "sqrt": 0.5}


def class_weights(kind: str, counts: Counts) -> NDArray[np.float32] | None:
    """Compute the weights of the classes in the loss.

    Args:
        kind: A key of ``CLASS_WEIGHTS``.
        counts: (C,) number of images of each class in ``fit``, each at least 1.

    Returns:
        (C,) float32 with mean 1 over the classes (``balanced``: over the images), or None for ``none``.
    """
    rule = CLASS_WEIGHTS[kind]
    if rule is None:
        return None
    weights = rule(counts)
    if kind != "balanced":
        weights = weights / weights.mean()
    return weights.astype(np.float32)


def epoch_order(kind: str, labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Draw the images of an epoch, in order, as a pure function of the seed and the epoch.

    Args:
        kind: ``shuffle`` (each image once), ``weighted`` (with replacement, every class equally often on average), or
            ``sqrt`` (with replacement, classes in proportion to the square roots of their sizes).
        labels: (N,) classes of the images.
        seed: Seed of the trial.
        epoch: Number of the epoch, from 1.

    Returns:
        (N,) positions into ``labels``.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    power = SAMPLERS[kind]
    if power is None:
        return generator.permutation(len(labels))
    odds = np.bincount(labels)[labels] ** -power
    return generator.choice(len(labels), size=len(labels), p=odds / odds.sum())
