"""95% intervals of single scores whose images come in groups, as closed forms that hold for few groups and at 0 and 1.

Student's t with the degrees of freedom of the groups replaces the normal quantile throughout.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Interval = tuple[float, float]
# Groups of full agreement by which design effects are shrunk, found with ``benchmarks.statistics.intervals``.
_PRIOR_GROUPS = 3.0
_PRIOR_GROUPS_OF_SCORES = 0.5
_LEVEL = 0.95
_ROUNDING = 1e-9  # a score as close to 0 or 1 as this is there


def proportion_interval(right: NDArray[np.bool_], groups: NDArray[np.int64]) -> Interval:
    """Compute a Wilson interval of the share of images that are right (Wilson 1927), with the design effect of groups.

    The design effect is the variance of the share over groups divided by that of independent images (Kish 1965). With
    few groups it is badly known, so it is shrunk towards that of groups whose images are all alike.

    Args:
        right: (N,) outcomes, at least one.
        groups: (N,) group of each image.
    """
    sizes, hits = _by_group(groups, right)
    count, images, share = len(sizes), int(sizes.sum()), float(right.mean())
    all_alike = float(np.square(sizes).sum()) / images
    effect = all_alike
    if 0 < share < 1 and count > 1:
        effect = max(_variance_of_ratio(hits, sizes) * images / (share * (1 - share)), 1.0)
    effect = (count * effect + _PRIOR_GROUPS * all_alike) / (count + _PRIOR_GROUPS)
    return _wilson(share, images / effect, _quantile(count))


def average_interval(
    values: NDArray[np.float64], bounds: Sequence[Interval], correlations: NDArray[np.float64]
) -> Interval:
    """Combine the intervals of K proportions to that of their mean (MOVER; Zou, Huang and Zhang 2009).

    Unlike a standard error, it keeps the uncertainty of a proportion that is 0 or 1 on this sample.

    Args:
        values: (K,) proportions.
        bounds: Interval of each.
        correlations: (K, K) correlations of their estimates.
    """
    low, high = np.array(bounds).T
    mean, spans = float(values.mean()), (values - low, high - values)
    below, above = (float(np.sqrt(max(span @ correlations @ span, 0.0))) / len(values) for span in spans)
    return max(mean - below, 0.0), min(mean + above, 1.0)


def difference_interval(
    value: float, interval: Interval, other: float, of_other: Interval, correlation: float = 0.0
) -> Interval:
    """Return the 95% interval of ``value - other`` from their intervals (MOVER; Zou and Donner 2008).

    Unlike a sum of standard errors, it keeps intervals that are not symmetric.

    Args:
        value: First score.
        interval: Its interval.
        other: Second score.
        of_other: Its interval.
        correlation: Correlation of the two estimates; 0 for those of independent samples.
    """
    down = _distance(value - interval[0], of_other[1] - other, correlation)
    up = _distance(other - of_other[0], interval[1] - value, correlation)
    return value - other - down, value - other + up


def _distance(one: float, other: float, correlation: float) -> float:
    return float(np.sqrt(max(one**2 + other**2 - 2 * correlation * one * other, 0.0)))


def share_correlation(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    """Return the correlation of two shares of the same images over samples of groups (linearised, Cochran 1977).

    Args:
        first: (N,) outcomes of the first share.
        second: (N,) outcomes of the second.
        groups: (N,) group of each image.

    Returns:
        The correlation; 0 if a share does not vary between groups.
    """
    residuals = []
    for outcomes in (first, second):
        sizes, hits = _by_group(groups, outcomes)
        residuals.append(hits - outcomes.mean() * sizes)
    spread = float(np.linalg.norm(residuals[0]) * np.linalg.norm(residuals[1]))
    return float(residuals[0] @ residuals[1]) / spread if spread > 0 else 0.0


def mean_interval(values: NDArray[np.float64], groups: NDArray[np.int64], smallest: int | None = None) -> Interval:
    """Compute an interval of a mean over images that allows for skewness by Hall's transformation (Hall 1992).

    It may leave the range of a score, and has no width if the means of all groups are equal.

    Args:
        values: (N,) values of the images, such as their log losses.
        groups: (N,) group of each image, at least two groups.
        smallest: Groups of the smallest class, which limit the degrees of freedom; None without classes.
    """
    sizes, totals = _by_group(groups, values)
    mean, count = float(values.mean()), len(sizes)
    residuals = totals - mean * sizes
    spread = float(np.sqrt(np.square(residuals).mean()))
    error = float(np.sqrt(_variance_of_ratio(totals, sizes)))
    skew = float((residuals**3).mean()) / spread**3 / np.sqrt(count) if spread > 0 else 0.0

    def inverse(quantile: float) -> float:
        if abs(skew) < 1e-9:
            return quantile
        return float(3 / skew * (np.cbrt(1 + skew * (quantile - skew / 6)) - 1))

    quantile = _quantile(count if smallest is None else smallest)
    return mean - error * inverse(quantile), mean - error * inverse(-quantile)


def bounded_interval(value: float, variance: float, groups: int) -> Interval:
    """Compute a Wilson interval of any score between 0 and 1, such as an AUROC, from its variance.

    The score is treated as a share of independent units, as many as give the same variance. At 0 or 1 these are the
    groups.

    Args:
        value: The score.
        variance: Its variance over bootstrap samples of groups.
        groups: Groups of the smallest class that the score needs, at least one.
    """
    per_unit, prior = 1 / groups, _PRIOR_GROUPS_OF_SCORES
    if _ROUNDING < value < 1 - _ROUNDING and groups > 1:
        per_unit = variance * groups / (groups - 1) / (value * (1 - value))
    per_unit = (groups * per_unit + prior / groups) / (groups + prior)
    return _wilson(value, 1 / per_unit, _quantile(groups))


def _by_group(groups: NDArray[np.int64], values: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the number of images and the total of the values of each group."""
    group_of = np.unique(groups, return_inverse=True)[1]
    totals: NDArray[np.float64] = np.bincount(group_of, weights=values.astype(np.float64)).astype(np.float64)
    return np.bincount(group_of), totals


def _variance_of_ratio(totals: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """Return the linearised variance of ``totals.sum() / sizes.sum()`` over groups (Cochran 1977)."""
    count, images = len(sizes), sizes.sum()
    residuals = totals - totals.sum() / images * sizes
    return float(count / max(count - 1, 1) * np.square(residuals).sum() / images**2)


def _wilson(share: float, count: float, quantile: float) -> Interval:
    square = quantile**2 / count
    centre = (share + square / 2) / (1 + square)
    half = np.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def _quantile(groups: int) -> float:
    return float(stats.t.ppf((1 + _LEVEL) / 2, max(groups - 1, 1)))
