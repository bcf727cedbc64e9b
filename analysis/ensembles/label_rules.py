"""Ensemble rules for independent labels: rules of ``analysis.ensembles.rules``, with temperatures and thresholds."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from analysis.ensembles.choose_rule import RuleSet
from analysis.ensembles.rules import SCALED, TEMPERATURES, Rule, best_single, geometric_mean, greedy, mean
from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import LabelCombination, temper_labels

_THRESHOLD = 0.5  # of a label without positives or without negatives
_LEAST = 1e-12


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


def best_thresholds(probabilities: Probabilities, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (L,) thresholds with the highest F1, each half-way between two neighbouring probabilities.

    Of equal ones, the highest is taken. A label that all images have, or none, gets 0.5.

    Args:
        probabilities: (N, L) probabilities.
        targets: (N, L) of 0 and 1.
    """
    return np.array([_best_threshold(*pair) for pair in zip(probabilities.T, targets.T, strict=True)])


def _best_threshold(scores: Probabilities, truth: NDArray[np.int64]) -> float:
    if truth.min() == truth.max():
        return _THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order].astype(np.float64), np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + truth.sum())
    last = np.append(np.flatnonzero(np.diff(ordered)), len(scores) - 1)  # equal scores are decided alike
    best = int(last[f1[last].argmax()])
    below = ordered[best + 1] if best + 1 < len(scores) else 0.0
    return float((ordered[best] + below) / 2)


def _for_labels(rule: Rule, scaled: bool) -> Rule:
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
            member_thresholds=_as_tuples([best_thresholds(member, sample.labels) for member in probabilities]),
        )
        thresholds = best_thresholds(combination.apply(probabilities), sample.labels)
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
# The fixed rules have no parameters but their thresholds, which are not scored without cross-fitting.
LABEL_RULES = RuleSet(
    {name + SCALED * scaled: _for_labels(rule, scaled) for name, rule in _PLAIN.items() for scaled in (False, True)},
    default="mean" + SCALED,
    fixed=("mean", "geometric-mean"),
)
