"""Ensemble rules. Each fits a ``Combination`` to (M, N, C) probabilities of labelled images.

``analysis.ensembles.compare_rules`` chooses one of them.
"""

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from analysis.statistics.calibration import smoothed_targets
from analysis.statistics.cross_fitting import cross_fitted, group_folds
from analysis.statistics.resampling import Probabilities, Sample, best_position
from trainables.core.metric_names import MINIMIZED, is_better
from trainables.core.serving.combining.combine import MIN_PROBABILITY, Combination, log_features, temper

Rule = Callable[[Probabilities, Sample], Combination]
GREEDY_STEPS = 40
SCALED = "-scaled"
TEMPERATURES = (0.05, 20.0)
# Candidates of the stacking regression: inverse strengths of the penalty, strongest first, and class weights.
_PENALTIES, _CLASS_WEIGHTS = (1e-3, 1e-2, 1e-1), ("balanced", None)
_INNER_FOLDS = 3
_CELLS = 10_000_000  # numbers that the score at chance is computed from, at most
_NEWTON_COEFFICIENTS = 1000  # up to this size Newton's method is five times as fast; beyond, its matrix is large
_NEVER = -30.0  # logit of a class without training images


def best_single(probabilities: Probabilities, sample: Sample) -> Combination:
    """Take the member with the best score, the first of equals."""
    best = best_position([sample.score(member) for member in probabilities], sample.metric)
    return Combination.of(np.eye(len(probabilities))[best])


def mean(probabilities: Probabilities, sample: Sample) -> Combination:  # noqa: ARG001
    """Weight all members equally (soft vote)."""
    return Combination.of(np.ones(len(probabilities)))


def majority_vote(probabilities: Probabilities, sample: Sample) -> Combination:  # noqa: ARG001
    """Give every member one vote; the mean probability breaks ties."""
    return Combination.of(np.ones(len(probabilities)), "majority")


def geometric_mean(probabilities: Probabilities, sample: Sample) -> Combination:  # noqa: ARG001
    """Average the logarithms, so that one member can rule a class out."""
    return Combination.of(np.ones(len(probabilities)), "geometric mean")


def confidence_weighted(probabilities: Probabilities, sample: Sample) -> Combination:  # noqa: ARG001
    """Weight members by their confidence in each image."""
    return Combination.of(np.ones(len(probabilities)), "confidence")


def metric_weighted(probabilities: Probabilities, sample: Sample) -> Combination:
    """Weight members by the square of their gain over chance; equally if none has a gain.

    Chance is the better of two scores: of predicting the class frequencies, and of the member's predictions paired with
    the labels of all images. The square leaves members at chance, whose gain is luck, next to no weight.
    """
    frequencies = np.bincount(sample.labels, minlength=probabilities.shape[2]) / len(sample.labels)
    uninformed = sample.score(np.broadcast_to(frequencies, probabilities.shape[1:]))
    sign = -1 if sample.metric in MINIMIZED else 1
    chances = np.array([sign * max(sign * uninformed, sign * _unpaired(member, sample)) for member in probabilities])
    gains = sign * (np.array([sample.score(member) for member in probabilities]) - chances)
    weights = np.maximum(np.nan_to_num(gains), 0) ** 2
    return Combination.of(weights if weights.any() else np.ones(len(weights)))


def _unpaired(member: Probabilities, sample: Sample) -> float:
    """Score (N, C) probabilities that know nothing of the image: each is paired with the labels of all images."""
    (member,), sample = sample.at_level_of_metric([member])
    classes = member.shape[1]
    some = member[:: 1 + member.size * classes // _CELLS]
    labels = np.repeat(np.arange(classes), len(some))
    pairs = dataclasses.replace(sample, labels=labels, groups=labels)
    counts = np.bincount(sample.labels, minlength=classes)[labels]
    return float(pairs.resampled_score(np.tile(some, (classes, 1)), counts[None])[0])


def greedy(probabilities: Probabilities, sample: Sample, steps: int = GREEDY_STEPS) -> Combination:
    """Select members greedily, with replacement (Caruana et al. 2004).

    Each step adds the member that improves the score most, or lowers it least. The best step counts, the earliest of
    equals, so the score on these images is never below the best member's.
    """
    counts = np.zeros(len(probabilities))
    bag = np.zeros_like(probabilities[0], dtype=np.float64)
    best_counts, best_score = counts, None
    for size in range(1, steps + 1):
        scores = [sample.score((bag + member) / size) for member in probabilities]
        chosen = best_position(scores, sample.metric)
        counts[chosen] += 1
        bag += probabilities[chosen]
        if best_score is None or is_better(sample.metric, scores[chosen], best_score):
            best_counts, best_score = counts.copy(), scores[chosen]
    return Combination.of(best_counts)


def stacking(probabilities: Probabilities, sample: Sample) -> Combination:
    """Fit a multinomial logistic regression to the logarithms of all probabilities (Wolpert 1992).

    An inner cross-fitting over whole groups chooses the penalty and the class weights by the metric, the strongest
    penalty of equals. With too few groups, the strongest penalty is used with class weights.
    """
    candidates = [*itertools.product(_PENALTIES, _CLASS_WEIGHTS)]
    folds = group_folds(sample, _INNER_FOLDS, least=2 * _INNER_FOLDS)
    chosen = 0
    with threadpool_limits(1):  # the matrices are so small that BLAS threads would mostly wait for each other
        if folds is not None:
            fits = [_regression(penalty, class_weight) for penalty, class_weight in candidates]
            scores = [sample.score(cross_fitted(fit, probabilities, sample, folds)) for fit in fits]
            chosen = best_position(scores, sample.metric)
        return _regression(*candidates[chosen])(probabilities, sample)


def _regression(penalty: float, class_weight: str | None) -> Rule:
    def fit(probabilities: Probabilities, sample: Sample) -> Combination:
        members, _, classes = probabilities.shape
        newton = members * classes**2 <= _NEWTON_COEFFICIENTS
        solver = "newton-cholesky" if newton else "lbfgs"
        model = LogisticRegression(C=penalty, class_weight=class_weight, solver=solver, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # close enough: it is scored like any other rule
            model.fit(log_features(np.asarray(probabilities, dtype=np.float64)), sample.labels)
        coefficients, intercept = np.zeros((classes, members * classes)), np.full(classes, _NEVER)
        binary = len(model.classes_) == 2  # a single row, for the second class against the first
        coefficients[model.classes_] = np.concatenate([0 * model.coef_, model.coef_]) if binary else model.coef_
        intercept[model.classes_] = [0, *model.intercept_] if binary else model.intercept_
        share = np.abs(coefficients).reshape(classes, members, classes).sum(axis=(0, 2))
        weighted = Combination.of(share if share.any() else np.ones(members))
        return dataclasses.replace(
            weighted,
            kind="stacked",
            coefficients=tuple(map(tuple, coefficients.tolist())),
            intercept=tuple(intercept.tolist()),
        )

    return fit


def fit_temperatures(probabilities: Probabilities, sample: Sample) -> tuple[float, ...]:
    """Return the (M,) temperatures between 0.05 and 20 with the lowest log loss (Guo et al. 2017).

    The truth is ``smoothed_targets``, so that a member that separates the classes does not become certain.
    """
    targets = smoothed_targets(sample.labels, probabilities.shape[2])

    def fitted(member: Probabilities) -> float:
        logs = np.log(np.maximum(np.asarray(member, dtype=np.float64), MIN_PROBABILITY))

        def loss(log_temperature: float) -> float:
            return float(-(targets * log_softmax(logs / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

        return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))

    return tuple(fitted(member) for member in probabilities)


def scaled(rule: Rule) -> Rule:
    """Return the same rule for members at their fitted temperatures."""

    def fit(probabilities: Probabilities, sample: Sample) -> Combination:
        temperatures = fit_temperatures(probabilities, sample)
        combination = rule(temper(probabilities, temperatures), sample)
        return dataclasses.replace(combination, temperatures=temperatures)

    return fit


# Simplest first. Majority vote and stacking have no scaled form: temperatures change neither the votes nor, except for
# rounding, the models that stacking can express.
RULES: Mapping[str, Rule] = {
    "best-single": best_single,
    "best-single" + SCALED: scaled(best_single),
    "mean": mean,
    "mean" + SCALED: scaled(mean),
    "majority-vote": majority_vote,
    "geometric-mean": geometric_mean,
    "geometric-mean" + SCALED: scaled(geometric_mean),
    "confidence-weighted": confidence_weighted,
    "confidence-weighted" + SCALED: scaled(confidence_weighted),
    "metric-weighted": metric_weighted,
    "metric-weighted" + SCALED: scaled(metric_weighted),
    "greedy": greedy,
    "greedy" + SCALED: scaled(greedy),
    "stacking": stacking,
}
# Chosen unless another rule is clearly better; ``benchmarks/statistics/ensemble_choice.py`` measures why.
DEFAULT = "metric-weighted" + SCALED
# These have no parameters, so they can be scored on the images they are applied to.
FIXED = ("mean", "majority-vote", "geometric-mean", "confidence-weighted")
