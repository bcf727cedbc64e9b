"""Calibration intercept and slope: are probabilities too high, and are they too extreme? (Cox 1958)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, RESAMPLES, Probabilities, Sample, sides

_LEAST = 1e-7  # about the resolution of float32
_STEPS, _CLOSE, _DIVERGED = 100, 1e-9, 50.0
_CELLS = 1_000_000  # resamples times images that are fitted at once


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic regression of the truth on the logit of the probability, with 95% intervals.

    Attributes:
        intercept: Intercept with the slope fixed at 1 (calibration in the large): above 0 if probabilities are too low.
        slope: Slope with a free intercept: below 1 if probabilities are too extreme.
        intercept_interval: None if a resample has no intercept, or with too few groups.
        slope_interval: None if a resample has no slope, or with too few groups.
    """

    intercept: float
    slope: float
    intercept_interval: tuple[float, float] | None
    slope_interval: tuple[float, float] | None


def calibration_line(
    scores: Probabilities, positive: NDArray[np.bool_], sample: Sample, count: int = RESAMPLES
) -> CalibrationLine | None:
    """Fit the line, with percentile intervals by a bootstrap of groups.

    Groups are drawn from all classes together: the intercept depends on the share of positives, which is as uncertain
    as everything else. With fewer than ``GROUPS_FOR_INTERVAL`` groups of positives or of negatives, there are no
    intervals.

    Args:
        scores: (N,) probabilities of being positive.
        positive: (N,) truth.
        sample: The N images, for their groups.
        count: Number of resamples.

    Returns:
        None if all images have the same truth or the same score, or if a threshold separates them without an error.
    """
    fitted = fit_lines(scores, positive, np.ones((1, len(scores))))[0]
    if not np.isfinite(fitted).all():
        return None
    line = CalibrationLine(float(fitted[0]), float(fitted[1]), None, None)
    if min(sides(sample.groups, positive)) < GROUPS_FOR_INTERVAL:
        return line
    groups, generator = len(sample.members), np.random.default_rng(35)
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), count)
    parts = np.array_split(drawn, -(-count * len(scores) // _CELLS))
    resampled = np.concatenate([fit_lines(scores, positive, part[:, sample.group_of]) for part in parts])
    intercept_interval, slope_interval = _intervals(resampled)
    return replace(line, intercept_interval=intercept_interval, slope_interval=slope_interval)


def fit_lines(scores: Probabilities, positive: NDArray[np.bool_], draws: NDArray[np.generic]) -> NDArray[np.float64]:
    """Fit intercept and slope to each of R weightings of N images.

    Args:
        scores: (N,) probabilities.
        positive: (N,) truth.
        draws: (R, N) weights of the images, such as how often a resample drew each.

    Returns:
        (R, 2) intercepts with slope 1, and slopes. NaN where the maximum of the likelihood is not finite or not unique.
    """
    weights, truth = np.asarray(draws, dtype=np.float64), positive.astype(np.float64)
    clipped = np.clip(np.asarray(scores, dtype=np.float64), _LEAST, 1 - _LEAST)
    logits = np.log(clipped) - np.log1p(-clipped)
    fixed = _newton(weights, truth, np.ones((1, len(truth))), logits)
    free = _newton(weights, truth, np.stack([np.ones(len(truth)), logits]), np.zeros(len(truth)))
    drawn = np.where(weights > 0, logits, np.nan)
    is_constant = np.nanmin(drawn, axis=1) == np.nanmax(drawn, axis=1)  # any slope fits
    return np.stack([fixed[:, 0], np.where(is_constant, np.nan, free[:, 1])], axis=1)


def _newton(
    weights: NDArray[np.float64], truth: NDArray[np.float64], features: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Maximise R weighted likelihoods of K (K, N) features; (R, K) coefficients, NaN where they diverge."""
    coefficients = np.zeros((len(weights), len(features)))
    converged = np.zeros(len(weights), dtype=bool)
    for _ in range(_STEPS):
        predicted = 1 / (1 + np.exp(-np.clip(offset + coefficients @ features, -_DIVERGED, _DIVERGED)))
        gradient = (weights * (truth - predicted)) @ features.T
        curvature = np.einsum("rn,kn,ln->rkl", weights * predicted * (1 - predicted), features, features, optimize=True)
        curvature += 1e-12 * np.eye(len(features))
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(axis=1)
        coefficients += step / np.maximum(largest, 1.0)[:, None]
        converged = largest < _CLOSE
        if converged.all():
            break
    bounded = converged & (np.abs(coefficients) < _DIVERGED).all(axis=1)
    return np.where(bounded[:, None], coefficients, np.nan)


def _intervals(resampled: NDArray[np.float64]) -> Iterator[tuple[float, float] | None]:
    for values in resampled.T:
        low, high = np.quantile(values, (0.025, 0.975)) if np.isfinite(values).all() else (np.nan, np.nan)
        yield None if np.isnan(low) else (float(low), float(high))
