import itertools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from analysis.ensembles import GREEDY_STEPS, Selection, best_single, choose, combine, greedy, mean

NAMES = ("a", "b", "c")


def members(count=5, images=90, seed=0, skill=1.0):
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, images, p=[0.6, 0.3, 0.1])
    labels[:3] = range(3)
    logits = (
        generator.normal(size=(count, images, 3)) + skill * generator.random(count)[:, None, None] * np.eye(3)[labels]
    )
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels


def selection(labels, metric="balanced_accuracy"):
    return Selection(labels, NAMES, metric)


def test_combine_is_the_weighted_mean():
    probabilities, _ = members()
    weights = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    expected = sum(weight * member for weight, member in zip(weights, probabilities, strict=True))
    np.testing.assert_allclose(combine(probabilities, weights), expected)


def test_best_single_and_mean_against_scikit_learn():
    probabilities, labels = members()
    scores = [balanced_accuracy_score(labels, member.argmax(1)) for member in probabilities]
    single = best_single(probabilities, selection(labels))
    assert single.score == pytest.approx(max(scores))
    assert single.weights.tolist() == np.eye(5)[int(np.argmax(scores))].tolist()
    together = mean(probabilities, selection(labels))
    assert together.score == pytest.approx(balanced_accuracy_score(labels, probabilities.mean(0).argmax(1)))


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
    probabilities, labels = members(count=4, images=40, seed=seed)
    ours = greedy(probabilities, selection(labels, "accuracy"), steps=12)
    weights, score = brute_force_greedy(probabilities, labels, steps=12)
    np.testing.assert_allclose(ours.weights, weights)
    assert ours.score == pytest.approx(score)


@pytest.mark.parametrize(("seed", "metric"), [*itertools.product(range(5), ["balanced_accuracy", "log_loss", "auroc"])])
def test_greedy_is_never_below_its_best_member(seed, metric):
    probabilities, labels = members(seed=seed, skill=0.5)
    given = selection(labels, metric)
    ours, single = greedy(probabilities, given), best_single(probabilities, given)
    assert ours.score <= single.score if metric == "log_loss" else ours.score >= single.score
    assert ours.weights.sum() == pytest.approx(1)
    assert ours.score == pytest.approx(given.score(combine(probabilities, ours.weights)))
    assert np.count_nonzero(ours.weights) <= GREEDY_STEPS


def test_the_simplest_of_equals_is_chosen():
    probabilities, labels = members(count=1)
    chosen, compared = choose(probabilities, selection(labels))
    assert chosen.rule == "best single model"
    assert [ensemble.rule for ensemble in compared] == ["best single model", "mean", "greedy selection"]
