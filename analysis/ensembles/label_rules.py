"""Ensemble rules for independent labels: rules of ``analysis.ensembles.rules``, with temperatures and thresholds."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from analysis.ensembles.choose_rule import RuleSet
from analysis.ensembles.rules import SCALED, TEMPERATURES, Rule, best_single, geometric_mean, greedy, mean
from analysis.statistics.resampling import Probabilities, Sample
from analysis.statistics.thresholds import PointRule, choose_threshold
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination, temper_labels

_LEAST = 1e-12
HIGHEST_F1 = PointRule("f1")


def fit_label_temperatures(probabilities: Probabilities, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (M, L) temperatures between 0.05 and 20 with the lowest log loss; 1 for a label that never varies.

    Args:
        probabilities: (M, N, L) probabilities.
        targets: (N, L) of 0 and 1.
    """

    def fitted(member: Probabilities, truth: NDArray[np.int64]) -> float:
        def loss(log_temperature: float) -> float:
            tempered = temper_labels(member[None, :, None], [[float(np.exp(log_temperature))]])[0, :, 0]
            return float(-np.log(np.maximum(np.where(truth == 1, tempered, 1 - tempered), _LEAST)).mean())

        if truth.min() == truth.max():
            return 1.0
        return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))

    labels = range(targets.shape[1])
    return np.array([[fitted(member[:, label], targets[:, label]) for label in labels] for member in probabilities])


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


def label_rules(points: PointRule = HIGHEST_F1) -> RuleSet:
    """Return the ensemble rules, with thresholds that ``points`` chooses.

    The fixed rules have no parameters but their thresholds, which are not scored without cross-fitting.
    """
    return RuleSet(
        {
            name + SCALED * scaled: _for_labels(rule, scaled, points)
            for name, rule in _PLAIN.items()
            for scaled in (False, True)
        },
        default="mean" + SCALED,
        fixed=("mean", "geometric-mean"),
    )


LABEL_RULES = label_rules()
