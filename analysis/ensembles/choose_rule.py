"""The choice of one rule among several, by their predictions on images that they were not fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import (
    GROUPS_FOR_INTERVAL,
    Probabilities,
    Sample,
    best_position,
    corrected_score,
    paired_scores,
)
from trainables.core.errors import DataError
from trainables.core.metric_names import MINIMIZED

_RESAMPLES = 400


@dataclass(frozen=True)
class Compared:
    """Score of one rule.

    Attributes:
        rule: Name of the rule.
        score: Metric on images that the rule was not fitted to.
        behind: Distance to the score of the reference (``Comparison.reference``); below 0 if this rule is better.
        error: Standard error of ``behind``.
    """

    rule: str
    score: float
    behind: float
    error: float


@dataclass(frozen=True)
class Choice:
    """Result of comparing rules.

    Attributes:
        metric: Metric of the comparison.
        rules: Scores of the rules, simplest first.
        chosen: The rule that ``choose`` chose, or that the user forced.
        corrected: Expected score of a rule chosen this way, without selection bias (``corrected_score``); None with too
            few groups.
        figures: All metrics of the chosen rule on images that it was not fitted to.
        notes: Caveats.
        reference: Rule that all are compared with; None for the best.
    """

    metric: str
    rules: tuple[Compared, ...]
    chosen: str
    corrected: float | None
    figures: dict[str, float]
    notes: tuple[str, ...]
    reference: str | None = None

    @property
    def score(self) -> float:
        """The chosen rule's score."""
        return next(compared.score for compared in self.rules if compared.rule == self.chosen)

    def difference(self, compared: Compared) -> float:
        """Return a rule's score minus that of the reference; infinite if it is undefined."""
        return compared.behind if self.metric in MINIMIZED else -compared.behind

    def describe(self, metric: str | None = None) -> str:
        """Return the chosen rule and the others, each with its score, and why a better one is not chosen.

        Args:
            metric: Name of the metric in this text; None for its bare name.
        """
        others = [self._described(compared) for compared in self.rules if compared.rule != self.chosen]
        return f"{self.chosen}, {metric or self.metric} {self.score:.4f} ({'; '.join(others)})"

    def _described(self, other: Compared) -> str:
        text = f"{other.rule} {other.score:.4f}"
        if self.chosen == self.reference and -other.error <= other.behind < 0:
            return f"{text}, better by less than a standard error of {other.error:.4f}"
        return text


def choose(
    predictions: Mapping[str, Probabilities],
    sample: Sample,
    forced: str | None = None,
    notes: Sequence[str] = (),
    default: str | None = None,
) -> Choice:
    """Compare rules by their predictions on images that they were not fitted to, and choose one.

    With a default, the best rule is chosen if it beats the default by more than one standard error and
    ``GROUPS_FOR_INTERVAL`` groups, of patients for a metric by patient, have images of each class, or with and without
    each label (with fewer, standard errors are too short); otherwise the default is. Without a default, the simplest
    rule within one standard error of the best is chosen.

    Args:
        predictions: Predictions of each rule on N images, simplest rule first.
        sample: The N images.
        forced: Rule to choose regardless of the comparison.
        notes: Caveats for the result. One is added if a rule that is clearly better is not chosen.
        default: Rule to choose unless another is clearly better.

    Raises:
        DataError: ``forced`` is not among the rules.
    """
    names, predicted = list(predictions), list(predictions.values())
    if forced is not None and forced not in names:
        raise DataError("; ".join([f"the rule must be one of {', '.join(names)}, but got {forced!r}", *notes]))
    scores = np.array([sample.score(combined) for combined in predicted])
    reference = best_position(scores.tolist(), sample.metric) if default is None else names.index(default)
    behind = _behind(scores, reference, sample.metric)
    resampled = paired_scores(predicted, sample, _RESAMPLES)
    errors = np.nanstd(resampled - resampled[:, reference, None], axis=0, ddof=1)
    _, level = sample.at_level_of_metric([])
    rarest = min(map(level.rarer, range(len(level.class_names))), key=attrgetter("groups"))
    replaceable = rarest.groups >= GROUPS_FOR_INTERVAL

    def replacement(values: NDArray[np.float64]) -> int:
        """Return the best rule if it is clearly better than the reference, else the reference."""
        best = best_position(values.tolist(), sample.metric)
        return best if _behind(values, reference, sample.metric)[best] < -errors[best] else reference

    def position(values: NDArray[np.float64]) -> int:
        if forced is not None:
            return names.index(forced)
        if default is None:
            best = best_position(values.tolist(), sample.metric)
            return int(np.argmax(_behind(values, best, sample.metric) <= errors))
        return replacement(values) if replaceable else reference

    chosen = names[position(scores)]
    better = names[replacement(scores)]
    if forced is None and default is not None and not replaceable and better != default:
        notes = [
            *notes,
            f"{better} scored better than {default}, but replaces it only if {GROUPS_FOR_INTERVAL} groups have images "
            f"of each kind, and {rarest.groups} {'has' if rarest.groups == 1 else 'have'} images {rarest}",
        ]
    corrected = corrected_score(predicted, sample, position, _RESAMPLES)
    figures = sample.scores(predictions[chosen])
    return Choice(
        metric=sample.metric,
        rules=tuple(map(Compared, names, scores.tolist(), behind.tolist(), errors.tolist())),
        chosen=chosen,
        corrected=None if np.isnan(corrected) else corrected,
        figures={name: value for name, value in figures.items() if not np.isnan(value)},
        notes=tuple(notes),
        reference=default,
    )


def _behind(scores: NDArray[np.float64], reference: int, metric: str) -> NDArray[np.float64]:
    """Return the distance of each score to that of the reference: below 0 if it is better, infinite for NaN."""
    signed = np.where(np.isnan(scores), -np.inf, scores * (-1 if metric in MINIMIZED else 1))
    return np.where(np.isinf(signed), np.inf, signed[reference] - signed)
