"""Greedy soups (Wortsman et al. 2022): which trained networks to average, so that one network replaces several."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.cross_fitting import group_folds
from analysis.statistics.resampling import Sample
from trainables.core.metric_names import MINIMIZED, is_better

# Maps ingredients, by position, to the predictions of the network with their average weights: an array of N images.
Predict = Callable[[tuple[int, ...]], NDArray[np.floating]]
# Maps such predictions, the number of networks, and the N images to the chosen ones: one of the functions below.
Chooser = Callable[[Predict, int, Sample], "Soup"]
GREEDY_SOUP = "greedy-soup"


@dataclass(frozen=True)
class Step:
    """One network that was tried.

    Attributes:
        ingredient: Its position.
        alone: Its score.
        together: Score of the average with it, on the same images.
        added: True if it became an ingredient.
    """

    ingredient: int
    alone: float
    together: float
    added: bool


@dataclass(frozen=True)
class Soup:
    """Networks to average.

    Attributes:
        steps: Networks in the order in which they were tried.
    """

    steps: tuple[Step, ...]

    @property
    def ingredients(self) -> tuple[int, ...]:
        """Positions of the networks to average, in ascending order."""
        return tuple(sorted(step.ingredient for step in self.steps if step.added))

    @property
    def score(self) -> float:
        """Score on the images that it was chosen on, which is optimistic."""
        return next(step.together for step in reversed(self.steps) if step.added)


def best_network(predict: Predict, count: int, sample: Sample) -> Soup:
    """Choose the network with the best score, the first of equals, and no other."""
    scores = [sample.score(predict((position,))) for position in range(count)]
    best = _best_first(scores, sample.metric)[0]
    return Soup((Step(best, scores[best], scores[best], added=True),))


def greedy_soup(predict: Predict, count: int, sample: Sample) -> Soup:
    """Try networks from the best score to the worst; keep each one in the average whose score does not fall with it.

    Args:
        predict: Function that predicts the images of the sample.
        count: Number of networks.
        sample: Images that neither trained nor selected the networks.
    """
    scores = [sample.score(predict((position,))) for position in range(count)]
    first, *others = _best_first(scores, sample.metric)
    steps = [Step(first, scores[first], scores[first], added=True)]
    ingredients: tuple[int, ...] = (first,)
    best = scores[first]
    for position in others:
        larger = tuple(sorted((*ingredients, position)))
        score = sample.score(predict(larger))
        added = not (np.isnan(score) or is_better(sample.metric, best, score))
        steps.append(Step(position, scores[position], score, added))
        if added:
            ingredients, best = larger, score
    return Soup(tuple(steps))


def held_out_predictions(choose: Chooser, predict: Predict, count: int, sample: Sample) -> NDArray[np.floating] | None:
    """Predict each image by the network that is chosen on the other folds of whole groups; None with too few groups.

    Args:
        choose: Function that chooses the ingredients.
        predict: Function that predicts the images of the sample.
        count: Number of networks.
        sample: Images that neither trained nor selected the networks.
    """
    folds = group_folds(sample)
    if folds is None:
        return None
    predicted = np.empty_like(predict((0,)))
    for fold in np.unique(folds):
        others, rows = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        chosen = choose(partial(_rows_of, predict, others), count, sample.take(others))
        predicted[rows] = predict(chosen.ingredients)[rows]
    return predicted


def _rows_of(predict: Predict, rows: NDArray[np.int64], ingredients: tuple[int, ...]) -> NDArray[np.floating]:
    return predict(ingredients)[rows]


def _best_first(scores: list[float], metric: str) -> list[int]:
    """Sort positions by score, best first, NaN last, and equal ones by position."""
    sign = 1 if metric in MINIMIZED else -1
    return [int(position) for position in np.argsort(sign * np.array(scores), kind="stable")]
