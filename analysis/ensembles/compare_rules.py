"""Comparison of ensemble rules. Each rule is scored on images that it was not fitted to."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.choose_rule import Choice, choose
from analysis.ensembles.decisions import DecisionRules, Decisions, decide
from analysis.ensembles.operating_points import ChosenPoint
from analysis.ensembles.rules import DEFAULT, FIXED, RULES, Rule
from analysis.statistics.cross_fitting import FOLDS, GROUPS_TO_FIT, cross_fitted, group_folds
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.metric_names import PATIENT
from trainables.core.serving.combining.combine import Combination


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
        self, predicted: Probabilities, sample: Sample, combination: Combination, rules: DecisionRules
    ) -> Decisions:
        """Choose the operating points, and calibrate the prediction sets, of images and patients.

        Args:
            predicted: Predictions of the combination for images that it was not fitted to.
            sample: The N images.
            combination: Combination with its rule for patients.
            rules: Rules for decisions that the user chose.
        """
        return decide(predicted, sample, combination.patients, rules)


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
        notes=(*comparison.notes, *(f"to combine the images of a patient, {note}" for note in choice.notes)),
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
        groups = len(sample.members)
        found = f"there are {groups}" if groups < GROUPS_TO_FIT else f"outside one of them, the {groups} have one class"
        note = (
            f"rules with parameters need {GROUPS_TO_FIT} groups of images, and two classes outside each of {FOLDS} "
            f"folds, but {found}: only rules without parameters were compared"
        )
        return {name: known.rules[name](probabilities, sample).apply(probabilities) for name in known.fixed}, [note]
    predictions = {name: cross_fitted(rule, probabilities, sample, folds) for name, rule in known.rules.items()}
    single = [str(kind) for kind in map(sample.rarer, range(len(sample.class_names))) if kind.groups == 1]
    note = f"only one group has images {', '.join(single)}: rules were scored on it without having seen such images"
    return predictions, [note] if single else []
