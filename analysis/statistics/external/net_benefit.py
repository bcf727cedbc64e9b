"""Decision curves, and predictive values at another prevalence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals.closed_forms import Interval, difference_interval, proportion_interval
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, RESAMPLES, Probabilities, Sample, sides


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per patient of three ways to decide (Vickers and Elkin 2006).

    Attributes:
        thresholds: (T,) probabilities at which harm and benefit of a treatment are equal.
        model: (T,) net benefit of treating those whose predicted probability reaches the threshold.
        everyone: (T,) net benefit of treating everyone. That of treating no one is 0.
        prevalence: Share of positives that they hold for.
        low: (T,) lower end of the 95% interval of ``model`` at each threshold; empty without intervals.
        high: (T,) upper end.
    """

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everyone: tuple[float, ...]
    prevalence: float
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def decision_curve(
    scores: Probabilities,
    positive: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    prevalence: float | None = None,
    sample: Sample | None = None,
) -> DecisionCurve:
    """Compute a decision curve, and its intervals if there are groups enough.

    Net benefit is a difference of two proportions: the sensitivity times the share of positives, less the false
    positive rate times the share of negatives and the odds of the threshold. Its interval combines those of the
    proportions (``proportion_interval``) by MOVER, with their correlation from a bootstrap of groups within class. It
    holds at each threshold by itself, and for the share of positives as given.

    Args:
        scores: (N,) probabilities of being positive.
        positive: (N,) truth, with both outcomes.
        thresholds: (T,) between 0 and 1, exclusive.
        prevalence: Share of positives; None for that of the N images.
        sample: The N images in their groups; None for no intervals.
    """
    share = float(positive.mean()) if prevalence is None else prevalence
    called = scores[None, :] >= thresholds[:, None]
    harm = thresholds / (1 - thresholds)
    found, alarms = called[:, positive].mean(axis=1), called[:, ~positive].mean(axis=1)
    model = found * share - alarms * (1 - share) * harm
    everyone = share - (1 - share) * harm
    low: NDArray[np.float64] = np.empty(0)
    high: NDArray[np.float64] = np.empty(0)
    if sample is not None and min(sides(sample.groups, positive)) >= GROUPS_FOR_INTERVAL:
        low, high = _band(called, positive, share, (1 - share) * harm, sample)
    columns = (thresholds, model, everyone, low, high)
    found, treated, all_treated, below, above = (tuple(column.tolist()) for column in columns)
    return DecisionCurve(found, treated, all_treated, share, below, above)


def _band(
    called: NDArray[np.bool_], positive: NDArray[np.bool_], share: float, weights: NDArray[np.float64], sample: Sample
) -> NDArray[np.float64]:
    """Return the (2, T) ends of the intervals of a net benefit.

    Args:
        called: (T, N) decisions at each threshold.
        positive: (N,) truth.
        share: Share of positives, the weight of the sensitivity.
        weights: (T,) weights of the false positive rates.
        sample: The N images.
    """
    found = [_weighted(row[positive], sample.groups[positive], share) for row in called]
    false = [
        _weighted(row[~positive], sample.groups[~positive], weight)
        for row, weight in zip(called, weights.tolist(), strict=True)
    ]
    correlations = _correlations(called, positive, sample)
    ends = [
        difference_interval(*benefit, *harm, correlation)
        for benefit, harm, correlation in zip(found, false, correlations, strict=True)
    ]
    return np.array(ends).T


def _weighted(decisions: NDArray[np.bool_], groups: NDArray[np.int64], weight: float) -> tuple[float, Interval]:
    """Return a weighted share of positive decisions, and its interval."""
    low, high = proportion_interval(decisions, groups)
    return weight * float(decisions.mean()), (weight * low, weight * high)


def _correlations(called: NDArray[np.bool_], positive: NDArray[np.bool_], sample: Sample) -> list[float]:
    """Return the (T,) correlations of sensitivity and false positive rate; 0 if no group has both kinds of images."""
    if not len(np.intersect1d(sample.groups[positive], sample.groups[~positive])):
        return [0.0] * len(called)
    drawn = []
    for draws in sample.resamples(RESAMPLES):
        counts = (draws[:, positive], called[:, positive]), (draws[:, ~positive], called[:, ~positive])
        with np.errstate(invalid="ignore"):
            drawn.append([times @ decisions.T / times.sum(axis=1)[:, None] for times, decisions in counts])
    rates = np.concatenate(drawn, axis=1)
    rates = rates[:, np.isfinite(rates).all(axis=(0, 2))]
    with np.errstate(invalid="ignore"):
        found = [np.corrcoef(*rates[:, :, threshold])[0, 1] for threshold in range(len(called))]
    return [float(value) if np.isfinite(value) else 0.0 for value in found]


@dataclass(frozen=True)
class PredictiveValue:
    """A predictive value at a stated prevalence, with its 95% interval, or None for both if it is undefined."""

    value: float | None
    interval: Interval | None


def predictive_values(
    sensitivity: float,
    specificity: float,
    prevalence: float,
    sensitivity_interval: Interval | None = None,
    specificity_interval: Interval | None = None,
) -> tuple[PredictiveValue, PredictiveValue]:
    """Return the positive and the negative predictive value at a prevalence, by Bayes' rule.

    Their intervals combine those of sensitivity and specificity, which come from different images, on the scale of the
    logarithm of the likelihood ratio (MOVER; Zou and Donner 2008). Where a likelihood ratio is 0 or infinite, the bound
    on that side is the limit of the value, and the other bound takes the worse end of both intervals.
    """
    odds = prevalence / (1 - prevalence)
    found = sensitivity, sensitivity_interval
    cleared = specificity, specificity_interval
    return _value(odds, found, cleared), _value(1 / odds, cleared, found)


def _value(odds: float, hit: tuple[float, Interval | None], other: tuple[float, Interval | None]) -> PredictiveValue:
    """Return the predictive value ``odds * hit / (odds * hit + 1 - other)``."""
    (share, share_interval), (correct, correct_interval) = hit, other
    false = 1 - correct
    if share + false == 0:
        return PredictiveValue(None, None)
    value = odds * share / (odds * share + false)
    if share_interval is None or correct_interval is None:
        return PredictiveValue(value, None)
    (low, high), (false_low, false_high) = share_interval, (1 - correct_interval[1], 1 - correct_interval[0])
    if share == 0 or false == 0:
        return PredictiveValue(value, (_share(odds * low, false_high), _share(odds * high, false_low)))
    ratio = np.log(share) - np.log(false)
    with np.errstate(divide="ignore"):  # a bound of 0 is infinitely far on this scale
        below = np.hypot(np.log(share / low) if low else np.inf, np.log(false_high / false))
        above = np.hypot(np.log(high / share), np.log(false / false_low) if false_low else np.inf)
    return PredictiveValue(value, (_logistic(ratio - below, odds), _logistic(ratio + above, odds)))


def _share(one: float, other: float) -> float:
    return one / (one + other) if one + other else 0.0


def _logistic(log_ratio: float, odds: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(log_ratio, -700, 700)) / odds))
