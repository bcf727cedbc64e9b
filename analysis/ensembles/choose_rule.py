"""The choice of an ensemble rule. Each rule is scored on images that it was not fitted to."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.decisions import DecisionRules, Decisions, decide
from analysis.ensembles.operating_points import ChosenPoint
from analysis.ensembles.rules import DEFAULT, FIXED, RULES, Rule
from analysis.statistics.cross_fitting import GROUPS_TO_FIT, cross_fitted, group_folds
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import (
    GROUPS_FOR_INTERVAL,
    Probabilities,
    Sample,
    best_position,
    corrected_score,
    paired_scores,
)
from trainables.core.errors import DataError
from trainables.core.metric_names import MINIMIZED, PATIENT
from trainables.core.serving.combining.combine import Combination

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

    def describe(self) -> str:
        """Return, for example, ``mean, auroc 0.8123 (geometric-mean 0.8140)``."""
        others = [f"{compared.rule} {compared.score:.4f}" for compared in self.rules if compared.rule != self.chosen]
        return f"{self.chosen}, {self.metric} {self.score:.4f} ({', '.join(others)})"


@dataclass(frozen=True)
class Comparison(Choice):
    """Result of comparing ensemble rules.

    Attributes:
        combination: The chosen rule, fitted to all images, and the rule for a patient's images.
        patients: Comparison of the rules that combine a patient's images; None if there are no patients.
        points: Operating points of a disease, of images and of patients; empty without a healthy class.
    """

    combination: Combination = field(kw_only=True)
    patients: Choice | None = field(kw_only=True, default=None)
    points: tuple[ChosenPoint, ...] = field(kw_only=True, default=())

    @property
    def score(self) -> float:
        """The score of the chosen rules."""
        return self.figures.get(self.metric, math.nan) if self.patients else super().score


@dataclass(frozen=True)
class RuleSet:
    """Ensemble rules to compare.

    Attributes:
        rules: Functions that fit each rule, simplest first.
        default: Rule to choose unless another is clearly better.
        fixed: Rules without parameters, which can be scored on the images they are applied to.
    """

    rules: Mapping[str, Rule]
    default: str
    fixed: tuple[str, ...]

    def of_patients(self, predicted: Probabilities, sample: PatientSample) -> Probabilities:
        """Combine predictions of images to those of patients, as they are scored to choose the rule for patients."""
        return sample.combined(predicted)

    def for_patients(
        self,
        combination: Combination,
        probabilities: Probabilities,  # noqa: ARG002
        predicted: Probabilities,  # noqa: ARG002
        sample: PatientSample,  # noqa: ARG002
    ) -> Combination:
        """Fit to patients what a combination needs beside its rule for them.

        Args:
            combination: Combination with its rule for patients.
            probabilities: (M, N, C) probabilities of the members.
            predicted: Predictions of the combination for images that it was not fitted to.
            sample: The N images.
        """
        return combination

    def decide(
        self, predicted: Probabilities, sample: Sample, combination: Combination, wishes: DecisionRules
    ) -> Decisions:
        """Choose the operating points, and calibrate the prediction sets, of images and patients.

        Args:
            predicted: Predictions of the combination for images that it was not fitted to.
            sample: The N images.
            combination: Combination with its rule for patients.
            wishes: Wishes of the user.
        """
        return decide(predicted, sample, combination.patients, wishes)


CLASS_RULES = RuleSet(RULES, DEFAULT, FIXED)


def compare(
    probabilities: Probabilities,
    sample: Sample,
    forced: str | None = None,
    known: RuleSet = CLASS_RULES,
    decisions: DecisionRules | None = None,
) -> Comparison:
    """Score all rules by group-wise cross-fitting, and choose one.

    Each rule is fitted to four fifths of the groups and predicts the rest; its pooled predictions are scored. This
    includes the rule that takes the best single model. The difference of each rule to the default is then resampled by
    whole groups. The default is chosen unless another rule is better by more than a standard error. The chosen rule is
    fitted to all images. With too few groups, only rules without parameters are compared, the default is the mean, and
    a note says so.

    Args:
        probabilities: (M, N, C) probabilities of the members on images that neither trained nor selected them.
        sample: The N images.
        forced: Rule to choose regardless of the comparison.
        known: Rules to compare.
        decisions: Wishes for operating points and prediction sets; None to leave both out.

    Raises:
        DataError: ``forced`` is unknown, or there are too few groups to score it.
    """
    predictions, notes = _out_of_fold(probabilities, sample, known)
    default = known.default if known.default in predictions else known.fixed[0]
    comparison = chosen_from(
        predictions, lambda rule: known.rules[rule](probabilities, sample), sample, forced, notes, default
    )
    predicted = predictions[comparison.chosen]
    comparison = _with_patient_rule(comparison, probabilities, predicted, sample, known)
    if decisions is None:
        return comparison
    return _with_decisions(comparison, known.decide(predicted, sample, comparison.combination, decisions))


def chosen_from(
    predictions: Mapping[str, Probabilities],
    combination: Callable[[str], Combination],
    sample: Sample,
    forced: str | None,
    notes: Sequence[str],
    default: str | None = None,
) -> Comparison:
    """Compare ensemble rules by their predictions on images that they were not fitted to, and choose one.

    ``combination`` fits a rule to all images. The other arguments are those of ``choose``.
    """
    choice = choose(predictions, sample, forced, notes, default)
    return Comparison(**vars(choice), combination=combination(choice.chosen))


def choose(
    predictions: Mapping[str, Probabilities],
    sample: Sample,
    forced: str | None = None,
    notes: Sequence[str] = (),
    default: str | None = None,
) -> Choice:
    """Compare rules by their predictions on images that they were not fitted to, and choose one.

    With a default, the best rule is chosen if it beats the default by more than one standard error and each class has
    ``GROUPS_FOR_INTERVAL`` groups (with fewer, standard errors are too short); otherwise the default is. Without a
    default, the simplest rule within one standard error of the best is chosen.

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
    fewest = min(range(len(sample.class_names)), key=sample.groups_with)
    replaceable = sample.groups_with(fewest) >= GROUPS_FOR_INTERVAL

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
            f"{better} scored higher than {default}, but replaces it only if every class has {GROUPS_FOR_INTERVAL} "
            f"groups, and {sample.class_names[fewest]} has {sample.groups_with(fewest)}",
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


def held_out(
    probabilities: Probabilities, sample: Sample, rule: str, known: RuleSet = CLASS_RULES
) -> NDArray[np.float64]:
    """Return a rule's predictions of images that it was not fitted to, as ``compare`` scores them.

    With too few groups, when only rules without parameters can be chosen, it is fitted to the images themselves.
    """
    folds, fit = group_folds(sample), known.rules[rule]
    if folds is None:
        return fit(probabilities, sample).scorable(probabilities)
    return cross_fitted(fit, probabilities, sample, folds)


def _with_patient_rule(
    comparison: Comparison, probabilities: Probabilities, predicted: Probabilities, sample: Sample, known: RuleSet
) -> Comparison:
    """Add the rule that combines the images of a patient, if the images are those of patients.

    The mean of the probabilities is the default. No rule has a parameter, so all are scored directly on the chosen
    ensemble rule's predictions of images that it was not fitted to.
    """
    if not isinstance(sample, PatientSample):
        return comparison
    rules = {rule.kind: rule for rule in sample.rules}
    by_rule = {kind: known.of_patients(predicted, replace(sample, rule=rule)) for kind, rule in rules.items()}
    default = next(iter(rules))
    choice = choose(by_rule, sample.by_patient, default=default)
    replaces_default = comparison.metric.startswith(PATIENT) and choice.chosen != default
    combination = replace(comparison.combination, patients=rules[choice.chosen])
    return replace(
        comparison,
        corrected=choice.corrected if replaces_default else comparison.corrected,
        combination=known.for_patients(combination, probabilities, predicted, sample),
        patients=choice,
        figures=comparison.figures | {f"{PATIENT}{name}": value for name, value in choice.figures.items()},
    )


def _with_decisions(comparison: Comparison, decisions: Decisions) -> Comparison:
    """Add operating points and prediction sets."""
    points = tuple(chosen.point for chosen in decisions.points)
    return replace(
        comparison,
        combination=replace(comparison.combination, points=points, sets=decisions.sets),
        points=decisions.points,
        notes=(*comparison.notes, *decisions.notes),
    )


def _out_of_fold(
    probabilities: Probabilities, sample: Sample, known: RuleSet
) -> tuple[Mapping[str, NDArray[np.float64]], list[str]]:
    """Return each rule's predictions of images that it was not fitted to, and notes about them."""
    folds = group_folds(sample)
    if folds is None:
        note = (
            f"rules with parameters need {GROUPS_TO_FIT} groups of images from at least two classes, but there are "
            f"{len(sample.members)}: only rules without parameters were compared"
        )
        return {name: known.rules[name](probabilities, sample).apply(probabilities) for name in known.fixed}, [note]
    predictions = {name: cross_fitted(rule, probabilities, sample, folds) for name, rule in known.rules.items()}
    single = [name for label, name in enumerate(sample.class_names) if sample.groups_with(label) == 1]
    note = f"only one group has images of {', '.join(single)}: rules were scored on it without having seen the class"
    return predictions, [note] if single else []


def _behind(scores: NDArray[np.float64], reference: int, metric: str) -> NDArray[np.float64]:
    """Return the distance of each score to that of the reference: below 0 if it is better, infinite for NaN."""
    signed = np.where(np.isnan(scores), -np.inf, scores * (-1 if metric in MINIMIZED else 1))
    return np.where(np.isinf(signed), np.inf, signed[reference] - signed)
