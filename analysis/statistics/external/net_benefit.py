"""Decision curves, and predictive values at another prevalence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities

Interval = tuple[float, float]


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per patient of three ways to decide (Vickers and Elkin 2006).

    Attributes:
        thresholds: (T,) probabilities at which harm and benefit of a treatment are equal.
        model: (T,) net benefit of treating those whose predicted probability reaches the threshold.
        everyone: (T,) net benefit of treating everyone. That of treating no one is 0.
        prevalence: Share of positives that they hold for.
    """

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everyone: tuple[float, ...]
    prevalence: float


def decision_curve(
    scores: Probabilities,
    positive: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    prevalence: float | None = None,
) -> DecisionCurve:
    """Compute a decision curve.

    Args:
        scores: (N,) probabilities of being positive.
        positive: (N,) truth, with both outcomes.
        thresholds: (T,) between 0 and 1, exclusive.
        prevalence: Share of positives; None for that of the N images.
    """
    share = float(positive.mean()) if prevalence is None else prevalence
    called = scores[None, :] >= thresholds[:, None]
    harm = thresholds / (1 - thresholds)
    found, alarms = called[:, positive].mean(axis=1), called[:, ~positive].mean(axis=1)
    model = found * share - alarms * (1 - share) * harm
    everyone = share - (1 - share) * harm
    return DecisionCurve(tuple(thresholds.tolist()), tuple(model.tolist()), tuple(everyone.tolist()), share)


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
