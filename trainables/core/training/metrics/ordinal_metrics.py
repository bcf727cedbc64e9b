"""Metrics of graded classes, from confusion matrices of R resamples. The classes are numbered in grade order."""

import numpy as np
from numpy.typing import NDArray


def mean_absolute_error(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the mean number of grades between the predicted and the true grade.

    Args:
        confusion: (R, C, C) counts, true classes in rows, with at least one image each.

    Returns:
        (R,) values in 0..C-1.
    """
    grades = np.arange(confusion.shape[1])
    error: NDArray[np.float64] = _total(confusion, abs(grades[:, None] - grades)) / confusion.sum(axis=(1, 2))
    return error


def quadratic_weighted_kappa(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute Cohen's kappa with squared distances between grades as weights (Cohen 1968).

    It is 1 for perfect agreement, and 0 if the predictions agree with the truth only as often as by chance.

    Args:
        confusion: (R, C, C) counts, true classes in rows, with at least one image each.

    Returns:
        (R,) values in -1..1; NaN where all true grades are the same one.
    """
    grades = np.arange(confusion.shape[1])
    distances = (grades[:, None] - grades) ** 2
    actual, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    chance = _total(actual[:, :, None] * predicted[:, None, :], distances) / actual.sum(axis=1)
    observed = _total(confusion, distances)
    several = (actual > 0).sum(axis=1) > 1  # otherwise kappa is 0 whatever is predicted
    return np.where(several, 1 - observed / np.where(several, chance, 1), np.nan)


def _total(counts: NDArray[np.int64], distances: NDArray[np.int64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = (counts * distances).sum(axis=(1, 2)).astype(np.float64)
    return total
