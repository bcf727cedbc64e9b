"""Ensemble rules for independent labels: rules of ``analysis.ensembles.rules``, with temperatures and thresholds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logit

from analysis.ensembles.compare_rules import RuleSet
from analysis.ensembles.decisions import DecisionRules, Decisions, decide_labels
from analysis.ensembles.rules import SCALED, TEMPERATURES, Rule, best_single, geometric_mean, greedy, mean
from analysis.statistics.calibration import smoothed_targets
from analysis.statistics.cross_fitting import group_folds
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Probabilities, Sample
from analysis.statistics.thresholds import PointRule, choose_threshold
from trainables.core.serving.combining.combine import MIN_PROBABILITY, Combination
from trainables.core.serving.combining.combine_labels import LabelCombination, temper_labels
from trainables.core.serving.operating_point import reaches

HIGHEST_F1 = PointRule("f1")


def fit_label_temperatures(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (M, L) temperatures between 0.05 and 20 with the lowest log loss; 1 for a label that never varies.

    The truth is ``smoothed_targets``, so that a member that separates a label does not become certain.

    Args:
        probabilities: (M, N, L) probabilities.
        labels: (N, L) of 0 and 1.
    """

    def fitted(member: Probabilities, truth: NDArray[np.int64]) -> float:
        if truth.min() == truth.max():
            return 1.0
        targets = smoothed_targets(truth, 2)[:, 1]
        logits = logit(np.clip(np.asarray(member, dtype=np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY))

        def loss(log_temperature: float) -> float:
            scaled = logits / np.exp(log_temperature)
            return float((np.logaddexp(0, scaled) - targets * scaled).mean())

        return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))

    pairs = [(label, labels[:, label]) for label in range(labels.shape[1])]
    return np.array([[fitted(member[:, label], truth) for label, truth in pairs] for member in probabilities])


def best_thresholds(
    probabilities: Probabilities, targets: NDArray[np.int64], rule: PointRule = HIGHEST_F1
) -> NDArray[np.float64]:
    """Return the (L,) thresholds that a rule chooses (``choose_threshold``).

    Args:
        probabilities: (N, L) probabilities.
        targets: (N, L) of 0 and 1.
        rule: Rule that chooses the thresholds.
    """
    pairs = zip(probabilities.T, targets.T == 1, strict=True)
    return np.array([choose_threshold(rule, scores, positive) for scores, positive in pairs])


def _for_labels(rule: Rule, scaled: bool, points: PointRule) -> Rule:
    """Return a rule that fits temperatures, if ``scaled``, then the weights of ``rule``, then thresholds."""

    def fit(probabilities: Probabilities, sample: Sample) -> Combination:
        members, _, labels = probabilities.shape
        temperatures = np.ones((members, labels))
        if scaled:
            temperatures = fit_label_temperatures(probabilities, sample.labels)
        plain = rule(temper_labels(probabilities, temperatures), sample)
        combination = LabelCombination(
            plain.kind,
            plain.weights,
            plain.temperatures,
            label_temperatures=_as_tuples(temperatures),
            member_thresholds=_as_tuples([best_thresholds(member, sample.labels, points) for member in probabilities]),
            threshold_rule=str(points),
        )
        thresholds = best_thresholds(combination.apply(probabilities), sample.labels, points)
        return dataclasses.replace(combination, thresholds=tuple(thresholds.tolist()))

    return fit


def _as_tuples(rows: object) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, np.asarray(rows).tolist()))


_PLAIN: Mapping[str, Rule] = {
    "best-single": best_single,
    "mean": mean,
    "geometric-mean": geometric_mean,
    "greedy": greedy,
}


@dataclass(frozen=True)
class _LabelRuleSet(RuleSet):
    """Rules for labels, whose thresholds for patients are chosen on the patients.

    Attributes:
        points: Rule that chooses the thresholds.
    """

    points: PointRule = HIGHEST_F1

    def of_patients(self, predicted: Probabilities, sample: PatientSample) -> Probabilities:
        """Combine predictions, with decisions by thresholds that were chosen on other groups.

        With too few groups for that, there are no decisions.
        """
        patients = sample.by_patient
        probabilities = sample.combined(predicted)[:, : len(sample.class_names)]
        folds = group_folds(patients)
        if folds is None:
            return probabilities
        decisions = np.zeros(probabilities.shape, dtype=bool)
        for fold in np.unique(folds):
            others = folds != fold
            thresholds = best_thresholds(probabilities[others], patients.labels[others], self.points)
            decisions[~others] = reaches(probabilities[~others], thresholds)
        return np.hstack([probabilities, decisions])

    def for_patients(
        self, combination: Combination, probabilities: Probabilities, predicted: Probabilities, sample: PatientSample
    ) -> Combination:
        """Choose the thresholds of patients, for the ensemble and for each member."""
        assert isinstance(combination, LabelCombination)
        truth = sample.by_patient.labels
        rows = [predicted[:, : truth.shape[1]], *probabilities]
        of_models = _as_tuples(
            [best_thresholds(combination.patients.apply(one, sample.patients), truth, self.points) for one in rows]
        )
        return dataclasses.replace(
            combination, patient_thresholds=of_models[0], patient_member_thresholds=of_models[1:]
        )

    def decide(
        self, predicted: Probabilities, sample: Sample, combination: Combination, rules: DecisionRules
    ) -> Decisions:
        """Calibrate prediction sets. The thresholds of labels are part of the combination."""
        probabilities = predicted[:, : len(sample.class_names)]
        return decide_labels(probabilities, sample, combination.patients, rules)


def label_rules(points: PointRule = HIGHEST_F1) -> RuleSet:
    """Return the ensemble rules, with thresholds that ``points`` chooses.

    The fixed rules have no parameters but their thresholds, which are not scored without cross-fitting.
    """
    return _LabelRuleSet(
        {
            name + SCALED * scaled: _for_labels(rule, scaled, points)
            for name, rule in _PLAIN.items()
            for scaled in (False, True)
        },
        default="mean" + SCALED,
        fixed=("mean", "geometric-mean"),
        points=points,
    )


LABEL_RULES = label_rules()
