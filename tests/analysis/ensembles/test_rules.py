import itertools

import numpy as np
import pytest
from scipy.special import xlogy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from analysis.ensembles.rules import (
    GREEDY_STEPS,
    RULES,
    best_single,
    confidence_weighted,
    fit_temperatures,
    geometric_mean,
    greedy,
    majority_vote,
    mean,
    metric_weighted,
    scaled,
    stacking,
)
from analysis.statistics.resampling import Sample
from tests.analysis.samples import NAMES, drawn
from trainables.core.serving.combining.combine import temper


def applied(rule, probabilities, sample):
    return rule(probabilities, sample).apply(probabilities)


def test_best_single_and_mean_against_scikit_learn():
    probabilities, sample = drawn()
    scores = [balanced_accuracy_score(sample.labels, member.argmax(1)) for member in probabilities]
    np.testing.assert_allclose(applied(best_single, probabilities, sample), probabilities[int(np.argmax(scores))])
    np.testing.assert_allclose(applied(mean, probabilities, sample), probabilities.mean(0))


def test_the_best_single_model_by_a_metric_that_is_minimized():
    probabilities, sample = drawn(metric="log_loss", seed=3)
    losses = [log_loss(sample.labels, member) for member in probabilities]
    assert best_single(probabilities, sample).voters() == [int(np.argmin(losses))]


def test_majority_vote_against_counting():
    probabilities, sample = drawn(count=4, images=60)
    combined = applied(majority_vote, probabilities, sample)
    ties = 0
    for image in range(60):
        votes = np.bincount([int(member[image].argmax()) for member in probabilities], minlength=3)
        equal = np.flatnonzero(votes == votes.max())
        ties += len(equal) > 1
        assert combined[image].argmax() == equal[probabilities[:, image].mean(0)[equal].argmax()]
    assert ties > 5


def test_geometric_mean_and_confidence_against_scipy():
    probabilities, sample = drawn()
    product = probabilities.prod(0) ** (1 / 5)
    np.testing.assert_allclose(
        applied(geometric_mean, probabilities, sample), product / product.sum(1, keepdims=True), rtol=1e-6
    )
    sure = 1 + xlogy(probabilities, probabilities).sum(2) / np.log(3)
    expected = np.average(probabilities, axis=0, weights=np.repeat(sure[:, :, None], 3, axis=2))
    np.testing.assert_allclose(applied(confidence_weighted, probabilities, sample), expected)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_metric_weights_are_the_squared_gains_over_chance(metric):
    probabilities, sample = drawn(metric=metric, skill=3, seed=5)
    if metric == "log_loss":
        frequencies = np.bincount(sample.labels) / len(sample.labels)
        entropy = -(frequencies * np.log(frequencies)).sum()
        gains = [entropy - log_loss(sample.labels, member) for member in probabilities]
    else:
        gains = [balanced_accuracy_score(sample.labels, member.argmax(1)) - 1 / 3 for member in probabilities]
    gains = np.maximum(gains, 0) ** 2
    assert np.count_nonzero(gains) > 1
    np.testing.assert_allclose(metric_weighted(probabilities, sample).weights, gains / gains.sum(), atol=1e-12)


def test_a_member_whose_predictions_ignore_the_image_has_no_gain_by_any_metric():
    """Guessing each class as often as it occurs has a macro F1 above that of the class frequencies, but no gain."""
    labels = np.repeat(np.arange(3), [60, 30, 10])
    guesses = np.concatenate(
        [np.repeat(np.arange(3), [count * 6 // 10, count * 3 // 10, count // 10]) for count in (60, 30, 10)]
    )
    perfect = np.eye(3)[labels]
    sample = Sample(labels, np.arange(100), NAMES, "macro_f1")
    assert sample.score(np.eye(3)[guesses]) > 0.3
    weights = metric_weighted(np.stack([perfect, np.eye(3)[guesses]]), sample).weights
    assert weights == pytest.approx([1, 0], abs=1e-12)


def test_uninformed_members_are_weighted_equally():
    _, sample = drawn()
    uniform = np.full((3, 90, 3), 1 / 3)
    assert metric_weighted(uniform, sample).weights == pytest.approx([1 / 3] * 3)


def brute_force_greedy(probabilities, labels, steps):
    """The definition, with lists and no arithmetic shared with the code under test."""
    bag, best_bag, best_score = [], [], -1.0
    for _ in range(steps):
        scores = []
        for candidate in range(len(probabilities)):
            chosen = np.mean([probabilities[index] for index in [*bag, candidate]], axis=0)
            scores.append(accuracy_score(labels, chosen.argmax(1)))
        bag = [*bag, int(np.argmax(scores))]
        if max(scores) > best_score:
            best_score, best_bag = max(scores), bag
    return np.bincount(best_bag, minlength=len(probabilities)) / len(best_bag), best_score


@pytest.mark.parametrize("seed", range(4))
def test_greedy_against_brute_force(seed):
    probabilities, sample = drawn(count=4, images=40, seed=seed, metric="accuracy")
    ours = greedy(probabilities, sample, steps=12)
    weights, score = brute_force_greedy(probabilities, sample.labels, steps=12)
    np.testing.assert_allclose(ours.weights, weights)
    assert sample.score(ours.apply(probabilities)) == pytest.approx(score)


@pytest.mark.parametrize(("seed", "metric"), [*itertools.product(range(5), ["balanced_accuracy", "log_loss", "auroc"])])
def test_greedy_is_never_below_its_best_member(seed, metric):
    probabilities, sample = drawn(seed=seed, skill=0.5, metric=metric)
    weights = greedy(probabilities, sample).weights
    ours, single = (sample.score(applied(rule, probabilities, sample)) for rule in (greedy, best_single))
    assert ours <= single + 1e-12 if metric == "log_loss" else ours >= single - 1e-12
    assert sum(weights) == pytest.approx(1)
    assert np.count_nonzero(weights) <= GREEDY_STEPS


def test_temperatures_against_a_grid():
    probabilities, sample = drawn(count=3, skill=2)
    distorted = temper(probabilities, (0.3, 1.0, 4.0))
    temperatures = fit_temperatures(distorted, sample)
    # Each image counts for every class, most for its own.
    rest = 1 / (len(sample.labels) + 2)
    weights = [1 - rest if label == truth else rest / 2 for label in range(3) for truth in sample.labels]
    labels = np.repeat(range(3), len(sample.labels))
    for member, temperature in zip(distorted, temperatures, strict=True):
        grid = np.exp(np.linspace(np.log(0.05), np.log(20), 300))
        losses = [
            log_loss(labels, np.tile(temper(member[None], (float(one),))[0], (3, 1)), sample_weight=weights)
            for one in grid
        ]
        assert np.log(temperature) == pytest.approx(np.log(grid[int(np.argmin(losses))]), abs=0.03)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.99999])
def test_separated_classes_are_as_certain_as_the_number_of_images_allows(classes, confidence):
    """A temperature at its lower bound gave probabilities such as 1e-34."""
    labels = np.repeat(np.arange(classes), 12)
    member = np.full((len(labels), classes), (1 - confidence) / (classes - 1))
    member[np.arange(len(labels)), labels] = confidence
    sample = Sample(labels, np.arange(len(labels)), NAMES[:classes], "accuracy")
    tempered = temper(member[None], fit_temperatures(member[None], sample))[0]
    np.testing.assert_allclose(tempered.max(axis=1), (len(labels) + 1) / (len(labels) + 2), atol=1e-4)


def test_a_scaled_rule_applies_its_fitted_temperatures():
    probabilities, sample = drawn(skill=2)
    temperatures = fit_temperatures(probabilities, sample)
    expected = temper(probabilities, temperatures).mean(0)
    np.testing.assert_allclose(applied(scaled(mean), probabilities, sample), expected)


@pytest.mark.parametrize("classes", [2, 3])
def test_stacking_is_the_logistic_regression_that_scores_best(classes):
    probabilities, sample = drawn(count=3, images=150, skill=2, metric="accuracy")
    of_classes = sample.labels < classes
    probabilities = probabilities[:, of_classes, :classes] / probabilities[:, of_classes, :classes].sum(
        2, keepdims=True
    )
    sample = Sample(sample.labels[of_classes], sample.groups[of_classes], NAMES[:classes], "accuracy")
    ours = applied(stacking, probabilities, sample)
    features = np.log(np.concatenate(list(probabilities), axis=1))
    candidates = []
    for penalty in (1e-3, 1e-2, 1e-1):
        for class_weight in (None, "balanced"):
            model = LogisticRegression(C=penalty, class_weight=class_weight, tol=1e-9, max_iter=3000)
            candidates.append(model.fit(features, sample.labels).predict_proba(features))
    assert min(np.abs(ours - candidate).max() for candidate in candidates) < 1e-4


def test_stacking_never_predicts_a_class_without_training_images():
    probabilities, sample = drawn(count=3, images=150)
    without_one = np.flatnonzero(sample.labels != 1)
    fitted = stacking(probabilities[:, without_one], sample.take(without_one))
    combined = fitted.apply(probabilities)
    assert (combined[:, 1] < 1e-6).all()
    np.testing.assert_allclose(combined.sum(axis=1), 1)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss", "auroc"])
def test_every_rule_gives_probabilities_for_one_member(name, metric):
    probabilities, sample = drawn(count=1, metric=metric)
    combined = applied(RULES[name], probabilities, sample)
    assert combined.shape == (90, 3)
    assert np.isfinite(combined).all()
    np.testing.assert_allclose(combined.sum(axis=1), 1)
