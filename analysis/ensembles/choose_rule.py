"""Which rule combines the members: all are scored on images that they were not fitted to, and one is chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.rules import FIXED, RULES
from analysis.statistics.cross_fitting import GROUPS_TO_FIT, cross_fitted, group_folds
from analysis.statistics.resampling import Probabilities, Sample, best_position, corrected_score, paired_scores
from trainables.core.errors import DataError
from trainables.core.metric_names import MINIMIZED
from trainables.core.serving.combine import Combination

_RESAMPLES = 400


@dataclass(frozen=True)
class Compared:
    """One rule of a comparison.

    Attributes:
        rule: A key of ``RULES``.
        score: The metric on images that it was not fitted to.
        behind: How much worse than the best rule's score; at least 0.
        error: The standard error of ``behind``.
    """

    rule: str
    score: float
    behind: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """What a comparison of rules found.

    Attributes:
        metric: They were compared by it.
        rules: All of them, simplest first.
        chosen: The simplest within a standard error of the best, or what was asked for.
        corrected: The score to expect of a rule so chosen, without the optimism of choosing (``corrected_score``); None
            where there are too few groups to tell.
        figures: All metrics of the chosen rule on images that it was not fitted to.
        combination: Of the chosen rule, fitted to all images.
        notes: What a reader must know about it.
    """

    metric: str
    rules: tuple[Compared, ...]
    chosen: str
    corrected: float | None
    figures: dict[str, float]
    combination: Combination
    notes: tuple[str, ...]

    @property
    def score(self) -> float:
        """The chosen rule's, on images that it was not fitted to."""
        return next(compared.score for compared in self.rules if compared.rule == self.chosen)


def compare(probabilities: Probabilities, sample: Sample, forced: str | None = None) -> Comparison:
    """Scores every rule by group-wise cross-fitting and chooses one.

    Each rule, the choice of the best single model included, is fitted to four fifths of the groups and predicts the
    rest; its pooled predictions are scored, so that no rule is scored on what it was fitted to. Then the rules'
    differences to the best are resampled by whole groups: of all rules within one standard error of it, the simplest
    is chosen and fitted to all images. With too few groups for that, the rules that fit nothing are compared alone,
    and a note says so.

    Args:
        probabilities: (M, N, C) of the members, on images that neither trained nor chose them.
        sample: The N images.
        forced: A rule to choose whatever the comparison says.

    Raises:
        DataError: The forced rule could not be scored on images that it was not fitted to.
    """
    predictions, notes = _unseen(probabilities, sample)
    return chosen_from(predictions, lambda rule: RULES[rule](probabilities, sample), sample, forced, notes)


def chosen_from(
    predictions: Mapping[str, Probabilities],
    combination: Callable[[str], Combination],
    sample: Sample,
    forced: str | None,
    notes: Sequence[str],
) -> Comparison:
    """Compares rules by predictions of images that they were not fitted to, as ``compare`` says, and chooses one.

    Args:
        predictions: Of each rule, simplest first, what it predicts of N images.
        combination: Fits a rule to all of them.
        sample: The N images.
        forced: A rule to choose whatever the comparison says.
        notes: What a reader must know.

    Raises:
        DataError: The forced rule is not among them.
    """
    names, predicted = list(predictions), list(predictions.values())
    if forced is not None and forced not in names:
        raise DataError("; ".join([f"the rule must be one of {', '.join(names)}, but got {forced!r}", *notes]))
    scores = np.array([sample.score(combined) for combined in predicted])
    behind = _short_of_best(scores, sample.metric)
    best = best_position(scores.tolist(), sample.metric)
    resampled = paired_scores(predicted, sample, _RESAMPLES)
    errors = np.nanstd(resampled - resampled[:, best, None], axis=0, ddof=1)

    def choose(values: NDArray[np.float64]) -> int:
        if forced is not None:
            return names.index(forced)
        return int(np.argmax(_short_of_best(values, sample.metric) <= errors))

    chosen = names[choose(scores)]
    corrected = corrected_score(predicted, sample, choose, _RESAMPLES)
    figures = sample.scores(predictions[chosen])
    return Comparison(
        metric=sample.metric,
        rules=tuple(map(Compared, names, scores.tolist(), behind.tolist(), errors.tolist())),
        chosen=chosen,
        corrected=None if np.isnan(corrected) else corrected,
        figures={name: value for name, value in figures.items() if not np.isnan(value)},
        combination=combination(chosen),
        notes=tuple(notes),
    )


def _unseen(probabilities: Probabilities, sample: Sample) -> tuple[Mapping[str, NDArray[np.float64]], list[str]]:
    """Every rule's (N, C) predictions of images that it was not fitted to, and what to say about them."""
    folds = group_folds(sample)
    if folds is None:
        why = (
            f"rules that fit something need {GROUPS_TO_FIT} groups of images, of two classes at least, but "
            f"there are {len(sample.members)}: only rules that fit nothing were compared"
        )
        return {name: RULES[name](probabilities, sample).apply(probabilities) for name in FIXED}, [why]
    predictions = {name: cross_fitted(rule, probabilities, sample, folds) for name, rule in RULES.items()}
    lone = [name for label, name in enumerate(sample.class_names) if sample.groups_with(label) == 1]
    note = f"one group alone of a class: rules were scored on it without having seen the class ({', '.join(lone)})"
    return predictions, [note] if lone else []


def _short_of_best(scores: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """How much worse than the best each score is: at least 0, infinite for NaN."""
    signed = np.where(np.isnan(scores), -np.inf, scores * (-1 if metric in MINIMIZED else 1))
    return np.where(np.isinf(signed), np.inf, signed.max() - signed)
