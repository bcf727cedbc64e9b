"""Greedy soups against a brute-force recipe on predictions by ingredients."""

import numpy as np
import pytest

from analysis.ensembles.soups import Step, best_network, greedy_soup, held_out_predictions
from analysis.statistics.cross_fitting import group_folds
from tests.analysis.samples import drawn


def predictor(members):
    """Predictions of the average: those of linear networks, whose logits are averaged, spoilt by interference."""
    logits = np.log(members)

    def predict(ingredients):
        interference = 0.3 * np.sin(7 * np.arange(members[0].size).reshape(members[0].shape) + len(ingredients) ** 2)
        odds = np.exp(logits[list(ingredients)].mean(axis=0) + (len(ingredients) > 1) * interference)
        return odds / odds.sum(axis=1, keepdims=True)

    return predict


def recipe(predict, count, sample):
    """Recipe 1 of Wortsman et al. 2022, as the paper writes it."""
    order = sorted(range(count), key=lambda one: -sample.score(predict((one,))))
    ingredients = []
    for one in order:
        candidate = sorted([*ingredients, one])
        if not ingredients or sample.score(predict(tuple(candidate))) >= sample.score(predict(tuple(ingredients))):
            ingredients = candidate
    return tuple(ingredients)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_recipe_of_the_paper(seed):
    members, sample = drawn(count=6, seed=seed)
    predict = predictor(members)
    soup = greedy_soup(predict, 6, sample)
    assert soup.ingredients == recipe(predict, 6, sample)
    assert soup.score == sample.score(predict(soup.ingredients))
    alone = [sample.score(predict((one,))) for one in range(6)]
    assert soup.score >= max(alone)
    assert [step.alone for step in soup.steps] == sorted(alone, reverse=True)
    assert best_network(predict, 6, sample).ingredients == (int(np.argmax(alone)),)


def test_the_soups_of_some_seeds_differ_in_size():
    """So that the test above does not compare trivial soups only."""
    sizes = set()
    for seed in range(6):
        members, sample = drawn(count=6, seed=seed)
        sizes.add(len(greedy_soup(predictor(members), 6, sample).ingredients))
    assert len(sizes) > 1


def test_a_metric_to_minimise_is_minimised_and_an_undefined_average_is_not_added():
    members, sample = drawn(count=3, metric="log_loss")
    plain = predictor(members)

    def predict(ingredients):
        return np.full(members[0].shape, np.nan) if ingredients == (0, 1) else plain(ingredients)

    alone = [sample.score(plain((one,))) for one in range(3)]
    soup = greedy_soup(plain, 3, sample)
    assert soup.steps[0] == Step(int(np.argmin(alone)), min(alone), min(alone), added=True)
    assert soup.score <= min(alone)

    scored = {(0,): 0.1, (1,): 0.2, (2,): 0.3, (0, 1): np.nan, (0, 2): 0.1}
    soup = greedy_soup(lambda ingredients: ingredients, 3, Scored(scored))
    assert soup.ingredients == (0, 2)


class Scored:
    """A sample that knows the score of each soup."""

    metric = "log_loss"

    def __init__(self, scores):
        self.score = scores.__getitem__


def test_every_image_is_predicted_by_a_soup_of_the_other_groups():
    members, sample = drawn(count=5, images=120, groups=40, seed=0)
    predict = predictor(members)
    predicted = held_out_predictions(greedy_soup, predict, 5, sample)
    folds, chosen = group_folds(sample), set()
    for fold in range(5):
        others, rows = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        assert not set(sample.groups[others]) & set(sample.groups[rows])
        ingredients = recipe(lambda soup, others=others: predict(soup)[others], 5, sample.take(others))
        chosen.add(ingredients)
        np.testing.assert_array_equal(predicted[rows], predict(ingredients)[rows])
    assert len(chosen) > 1


def test_labels_of_the_held_out_groups_change_nothing():
    members, sample = drawn(count=5, images=120, groups=40, seed=0)
    folds = group_folds(sample)
    seen = {}

    def chooser(predict, count, others):
        soup = greedy_soup(predict, count, others)
        seen[others.groups.tobytes()] = others.labels
        return soup

    held_out_predictions(chooser, predictor(members), 5, sample)
    assert len(seen) == 5
    for labels, fold in zip(seen.values(), range(5), strict=True):
        np.testing.assert_array_equal(labels, sample.labels[folds != fold])


def test_too_few_groups_are_not_cross_fitted():
    members, sample = drawn(count=3, groups=4)
    assert held_out_predictions(greedy_soup, predictor(members), 3, sample) is None
