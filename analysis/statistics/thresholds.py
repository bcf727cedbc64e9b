"""Rules that choose the threshold from which a probability counts as positive."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import UserError
from trainables.core.training.metrics.threshold_metrics import threshold_counts

Probabilities = NDArray[np.floating]
_Counts = NDArray[np.int64]
TOLERANCE = 1e-9  # of shares that floating point rounds
_DECIMALS = 9  # of costs, so that ties are equal


@dataclass(frozen=True)
class PointRule:
    """Rule that chooses a threshold.

    Attributes:
        kind: One of ``KINDS``:
            ``youden``: highest sensitivity + specificity (Youden 1950).
            ``sensitivity``: highest specificity among the thresholds with at least this sensitivity.
            ``specificity``: highest sensitivity among the thresholds with at least this specificity.
            ``cost``: lowest total cost, if a missed positive costs ``value`` false alarms.
            ``f1``: highest F1.
        value: Wished sensitivity or specificity, or the ratio of costs; None for the others.
    """

    kind: str
    value: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``youden``, ``f1``, ``sensitivity=0.95``, ``specificity=0.9`` or ``cost=10``.

        Raises:
            UserError: The text is something else.
        """
        kind, equals, number = text.partition("=")
        try:
            value = float(number) if equals else None
        except ValueError:
            value = math.nan
        is_valid = value is None if kind in ("youden", "f1") else value is not None and 0 < value <= _MOST.get(kind, 0)
        if not is_valid:
            raise UserError(
                "--operating-point must be youden, f1, sensitivity=S or specificity=S with S above 0 and at most 1, or "
                f"cost=R with R above 0 and at most 1e6 (a missed positive costs R false alarms), but got {text!r}"
            )
        return cls(kind, value)

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}={self.value:g}"


# The default depends neither on the share of positives in `select` nor on a number that the user has to choose.
HIGHEST_YOUDEN = PointRule("youden")


def choose_threshold(rule: PointRule, scores: Probabilities, positive: NDArray[np.bool_]) -> float:
    """Return the threshold that a rule chooses; 0.5 if all images are positive, or none.

    It is half-way between two neighbouring scores as float32. Ties are broken by sensitivity or specificity, whichever
    the rule leaves open, then by the highest threshold.

    Args:
        rule: Rule.
        scores: (N,) probabilities of being positive.
        positive: (N,) truth.
    """
    if positive.all() or not positive.any():
        return 0.5
    return float(chosen_thresholds(rule, scores, positive, np.ones((1, len(scores)), dtype=np.int64))[0])


def chosen_thresholds(
    rule: PointRule, scores: Probabilities, positive: NDArray[np.bool_], draws: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the (R,) thresholds chosen on R resamples, which draw each image (R, N) times."""
    scores = scores.astype(np.float32)
    hits, misses = (np.pad(counts, ((0, 0), (1, 0))) for counts in threshold_counts(positive, scores, draws))
    thresholds = _between(np.unique(scores)[::-1])
    allowed = slice(int(thresholds[0] > 1), None)  # nothing is above the score 1
    best = KINDS[rule.kind](hits[:, allowed], misses[:, allowed], rule.value or 0.0).argmax(axis=1)
    return np.asarray(thresholds[allowed][best])


def _between(falling: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the thresholds above, between and below distinct scores, from the highest to the lowest."""
    edges = np.concatenate([[max(np.float32(1), np.nextafter(falling[0], np.float32(2)))], falling, [np.float32(0)]])
    upper, lower = edges[:-1].astype(np.float64), edges[1:]
    middle = ((upper + lower) / 2).astype(np.float32)
    return np.where(middle > lower, middle, edges[:-1])


def _share(counts: _Counts) -> NDArray[np.float64]:
    """Return shares of the last count, which is that of all; a resample may have none."""
    shares: NDArray[np.float64] = counts / np.maximum(counts[:, -1:], 1)
    return shares


def _youden(hits: _Counts, misses: _Counts, value: float) -> NDArray[np.float64]:  # noqa: ARG001
    positives, negatives = (np.maximum(counts[:, -1:], 1) for counts in (hits, misses))
    return np.asarray(hits * negatives - misses * positives, dtype=np.float64)  # whole numbers, so that ties are equal


def _f1(hits: _Counts, misses: _Counts, value: float) -> NDArray[np.float64]:  # noqa: ARG001
    f1: NDArray[np.float64] = 2 * hits / np.maximum(hits + misses + hits[:, -1:], 1)
    return f1


def _at_sensitivity(hits: _Counts, misses: _Counts, value: float) -> NDArray[np.float64]:
    reached = _share(hits) >= value - TOLERANCE
    return np.where(reached, hits / (hits[:, -1:] + 1) - misses, -np.inf)  # hits decide between equal misses


def _at_specificity(hits: _Counts, misses: _Counts, value: float) -> NDArray[np.float64]:
    reached = _share(misses) <= 1 - value + TOLERANCE
    fewest_misses = hits / (hits[:, -1:] + 1) - 1 - misses  # below 0; hits decide between equal misses
    return np.where(reached, hits, fewest_misses)


def _cost(hits: _Counts, misses: _Counts, value: float) -> NDArray[np.float64]:
    return np.round(value * hits - misses, _DECIMALS)


# Scores of each of T falling thresholds by (R, T) positives and negatives that reach it; the highest score is chosen.
KINDS: dict[str, Callable[[_Counts, _Counts, float], NDArray[np.float64]]] = {
    "youden": _youden,
    "sensitivity": _at_sensitivity,
    "specificity": _at_specificity,
    "cost": _cost,
    "f1": _f1,
}
_MOST = {"sensitivity": 1.0, "specificity": 1.0, "cost": 1e6}
