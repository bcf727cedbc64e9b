"""Difference of two models' scores on the same grouped images, with its 95% interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals.closed_forms import (
    Interval,
    difference_interval,
    proportion_interval,
    share_correlation,
)
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, RESAMPLES, Probabilities, Sample


@dataclass(frozen=True)
class Difference:
    """Scores of two models in one metric.

    Attributes:
        first: Score of the first model.
        second: Score of the second model.
        interval: 95% interval of the second minus the first; None where a score has no interval.
    """

    first: float
    second: float
    interval: Interval | None

    def describe(self) -> str:
        """Return, for example, ``+0.012 [-0.003, +0.027]``."""
        bounds = "" if self.interval is None else f" [{self.interval[0]:+.3f}, {self.interval[1]:+.3f}]"
        return f"{self.second - self.first:+.3f}{bounds}"


def paired_differences(
    first: Probabilities, second: Probabilities, sample: Sample, count: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Compare two models in every metric that both have.

    The interval follows from those of the two scores and their correlation (MOVER, Zou and Donner 2008), which comes
    from a bootstrap of groups within class: both models are scored on the same resamples. If a score does not vary
    between resamples, as at 12 of 12, the correlation counts as 0, and the interval is too wide rather than
    empty. Equal predictions have no difference.

    Args:
        first: Predictions of the first model for N images.
        second: Predictions of the second model.
        sample: The N images.
        count: Number of resamples.
        seed: Seed of the resamples.
    """
    scores = [sample.scores(predicted) for predicted in (first, second)]
    bounds = [intervals(predicted, sample, count=count, seed=seed) for predicted in (first, second)]
    drawn: dict[str, list[np.ndarray]] = {}
    for draws in sample.resamples(count, seed):
        both = [sample.resampled_scores(predicted, draws) for predicted in (first, second)]
        for name in both[0].keys() & both[1].keys():
            drawn.setdefault(name, []).append(np.stack([both[0][name], both[1][name]]))
    correlations = {name: _correlation(blocks) for name, blocks in drawn.items()}
    same, found = np.array_equal(first, second), {}
    for name, value in scores[0].items():
        other = scores[1].get(name, np.nan)
        if np.isfinite(value) and np.isfinite(other):
            of_both = [each[name] for each in bounds if name in each]
            interval = None
            if len(of_both) == 2 and name in correlations:
                first_bounds, second_bounds = of_both
                between = difference_interval(other, second_bounds, value, first_bounds, correlations[name])
                interval = (0.0, 0.0) if same else between
            found[name] = Difference(value, other, interval)
    return found


def share_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: NDArray[np.int64]) -> Difference:
    """Compare two shares of the same images, such as the sensitivities of two models.

    The interval combines those of the shares as in ``paired_differences``, with their correlation over groups. With
    fewer than ``GROUPS_FOR_INTERVAL`` groups there is none.

    Args:
        first: (N,) outcomes of the first model, at least one.
        second: (N,) outcomes of the second.
        groups: (N,) group of each image.
    """
    one, other = float(first.mean()), float(second.mean())
    if len(np.unique(groups)) < GROUPS_FOR_INTERVAL:
        return Difference(one, other, None)
    bounds = [proportion_interval(outcomes, groups) for outcomes in (first, second)]
    correlation = share_correlation(first, second, groups)
    return Difference(one, other, difference_interval(other, bounds[1], one, bounds[0], correlation))


def _correlation(blocks: list[np.ndarray]) -> float:
    """Return the correlation of (2, R) resampled scores; 0 if one does not vary or is undefined on a resample."""
    scores = np.concatenate(blocks, axis=1)
    if not np.isfinite(scores).all() or (scores.std(axis=1) < 1e-12).any():
        return 0.0
    return float(np.corrcoef(scores)[0, 1])
