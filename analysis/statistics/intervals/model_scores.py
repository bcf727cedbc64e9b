"""95% intervals of all scores of a model on a sample of grouped images."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals.closed_forms import (
    Interval,
    average_interval,
    bounded_interval,
    mean_interval,
    proportion_interval,
)
from analysis.statistics.intervals.score_parts import ScoreParts
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, RESAMPLES, Probabilities, Sample, few_groups
from trainables.core.training.metrics.classification_metrics import class_keys


def intervals(
    probabilities: Probabilities,
    sample: Sample,
    means: Mapping[str, NDArray[np.float64]] | None = None,
    count: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute 95% intervals that allow for groups, each by the method for its kind of score.

    - proportions (accuracy, recall, precision): Wilson with a design effect (``proportion_interval``);
    - averages of proportions (balanced accuracy): MOVER (``average_interval``);
    - means over images (log loss, Brier score, Dice): Hall's transformation (``mean_interval``), limited to the range
      of the score; if the means of all groups are equal, Wilson like all others;
    - all others (AUROC, F1, kappa): Wilson by the variance of a bootstrap of groups within class
      (``bounded_interval``).

    ``benchmarks.statistics.intervals`` simulates their coverage. Metrics of a class with fewer than
    ``GROUPS_FOR_INTERVAL`` groups get no interval. Averages over classes get one, which output must mark as conditional
    on these few groups (``few_groups`` names the classes).

    Args:
        probabilities: (N, C) probabilities.
        sample: The N images.
        means: Other metrics that are means over images, such as ``brier``: (N,) values by name.
        count: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        (low, high) of each metric that is defined, and for those that need it, defined on all resamples.
    """
    parts = sample.parts(probabilities)
    resampled = _resampled(probabilities, sample, count, seed)
    bounds = {
        name: proportion_interval(right[counted], sample.groups[counted])
        for name, (right, counted) in parts.shares.items()
        if counted.any()
    }
    bounds |= {name: _average(shares, bounds, parts, resampled) for name, shares in parts.averages.items()}
    if len(sample.members) > 1:
        images = {**parts.means, **(means or {})}
        bounds |= {name: _mean(name, values, sample, parts) for name, values in images.items()}
    known = {*parts.shares, *parts.averages, *parts.means}
    scores = sample.scores(probabilities)
    for name, values in resampled.items():
        if name not in known and np.isfinite(values).all() and np.isfinite(scores.get(name, np.nan)):
            bounds[name] = _bounded(name, scores[name], float(values.var()), sample, parts)
    withheld = {class_keys(sample.class_names)[label] for label in few_groups(sample)}
    return {name: bound for name, bound in bounds.items() if name.partition("/")[2] not in withheld}


def _resampled(probabilities: Probabilities, sample: Sample, count: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Score (count,) resamples of groups within class."""
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for draws in sample.resamples(count, seed):
        for name, values in sample.resampled_scores(probabilities, draws).items():
            drawn.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in drawn.items()}


def _average(
    shares: Sequence[str],
    bounds: Mapping[str, Interval],
    parts: ScoreParts,
    resampled: Mapping[str, NDArray[np.float64]],
) -> Interval:
    """Return the interval of a mean of shares; a share of no images, which counts as 0, may be anything."""
    of_shares = [parts.shares[name] for name in shares]
    values = [right[counted].mean() if counted.any() else 0.0 for right, counted in of_shares]
    with np.errstate(invalid="ignore"):
        correlations = np.atleast_2d(np.corrcoef([resampled[name] for name in shares]))
    correlations = np.where(np.isfinite(correlations), correlations, 0.0)
    np.fill_diagonal(correlations, 1.0)
    return average_interval(np.array(values), [bounds.get(name, (0.0, 1.0)) for name in shares], correlations)


def _mean(name: str, values: NDArray[np.float64], sample: Sample, parts: ScoreParts) -> Interval:
    """Return the interval of a mean over images. Groups that do not vary do not make it certain."""
    low, high = parts.ranges.get(name, (0.0, 1.0))
    start, end = mean_interval(values, sample.groups, _groups(name, sample))
    if end - start < 1e-9 * (high - low):
        return _bounded(name, float(values.mean()), 0.0, sample, parts)
    return max(start, low), min(end, high)


def _bounded(name: str, score: float, variance: float, sample: Sample, parts: ScoreParts) -> Interval:
    low, high = parts.ranges.get(name, (0.0, 1.0))
    width = high - low
    start, end = bounded_interval((score - low) / width, variance / width**2, _groups(name, sample))
    return low + width * start, low + width * end


def _groups(name: str, sample: Sample) -> int:
    """Return the groups of the class of a metric, or for averages those of the smallest class that has enough."""
    groups = {key: sample.rarer(label).groups for label, key in enumerate(class_keys(sample.class_names))}
    of_class = groups.get(name.partition("/")[2])
    if of_class is not None:
        return max(of_class, 1)
    enough = [count for count in groups.values() if count >= GROUPS_FOR_INTERVAL]
    return min(enough or [max(*groups.values(), 1)])
