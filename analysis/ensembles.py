"""Rules that combine members: from (M, N, C) probabilities to (N, C)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.metrics import MINIMIZED, classification_metrics, is_better

Probabilities = NDArray[np.floating]
GREEDY_STEPS = 40


@dataclass(frozen=True)
class Selection:
    """What the members' labels on ``select`` are scored by.

    Attributes:
        labels: (N,) int64.
        class_names: C names.
        metric: The objective.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    metric: str

    def score(self, probabilities: Probabilities) -> float:
        """The objective on (N, C) probabilities."""
        return classification_metrics(probabilities, self.labels, self.class_names, needed=self.metric)[self.metric]


@dataclass(frozen=True)
class Ensemble:
    """A rule's outcome: weights (M,) that sum to 1, and its score on ``select``."""

    rule: str
    weights: NDArray[np.float64]
    score: float


def combine(probabilities: Probabilities, weights: NDArray[np.float64]) -> Probabilities:
    """The weighted mean of (M, N, C) probabilities under (M,) weights: (N, C)."""
    return np.tensordot(weights, probabilities, axes=1)


def best_single(probabilities: Probabilities, selection: Selection) -> Ensemble:
    """The member with the best score, the first of equals."""
    scores = [selection.score(member) for member in probabilities]
    best = _first_best(scores, selection.metric)
    return Ensemble("best single model", np.eye(len(scores))[best], scores[best])


def mean(probabilities: Probabilities, selection: Selection) -> Ensemble:
    """Every member equally."""
    weights = np.full(len(probabilities), 1 / len(probabilities))
    return Ensemble("mean", weights, selection.score(combine(probabilities, weights)))


def greedy(probabilities: Probabilities, selection: Selection, steps: int = GREEDY_STEPS) -> Ensemble:
    """Greedy selection with replacement (Caruana et al. 2004).

    Starts from the best member, adds at each step the member that helps most (or hurts least), and keeps the best of
    all steps, the earliest of equals: never below its best member on ``select``.
    """
    counts = np.zeros(len(probabilities))
    bag = np.zeros_like(probabilities[0], dtype=np.float64)
    best: Ensemble | None = None
    for size in range(1, steps + 1):
        scores = [selection.score((bag + member) / size) for member in probabilities]
        chosen = _first_best(scores, selection.metric)
        counts[chosen] += 1
        bag += probabilities[chosen]
        if best is None or is_better(selection.metric, scores[chosen], best.score):
            best = Ensemble("greedy selection", counts / size, scores[chosen])
    assert best is not None
    return best


def choose(probabilities: Probabilities, selection: Selection) -> tuple[Ensemble, list[Ensemble]]:
    """The best rule on ``select``, the simplest of equals, and all that were compared, simplest first."""
    rules = [rule(probabilities, selection) for rule in (best_single, mean, greedy)]
    return rules[_first_best([ensemble.score for ensemble in rules], selection.metric)], rules


def _first_best(scores: list[float], metric: str) -> int:
    return int(np.argmin(scores) if metric in MINIMIZED else np.argmax(scores))
