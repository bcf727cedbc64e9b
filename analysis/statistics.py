"""Figures with their uncertainty: everything is resampled by whole groups, since images of a group are not independent.

All of it is seeded: the same predictions give the same figures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.metrics import MINIMIZED, class_keys, classification_metrics

Probabilities = NDArray[np.floating]
Indices = NDArray[np.int64]
RESAMPLES = 1000
# Below these numbers of groups a class gets no interval, and a pair of models no test.
GROUPS_FOR_INTERVAL = 10
GROUPS_FOR_TEST = 6
_MOST_EXCHANGES = 4096


@dataclass(frozen=True)
class Sample:
    """Labelled images in groups, and the metric that predictions of them are compared by.

    Attributes:
        labels: (N,) int64.
        groups: (N,) int64; images of one group (a patient, a set of twins) are not independent.
        class_names: C names.
        metric: A metric's bare name.
        healthy: The class without a disease, where there is one.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    class_names: tuple[str, ...]
    metric: str
    healthy: str | None = None

    def score(self, probabilities: Probabilities) -> float:
        """The metric on (N, C) probabilities; NaN where it is undefined on these images."""
        return self.scores(probabilities, self.metric).get(self.metric, float("nan"))

    def scores(self, probabilities: Probabilities, needed: str | None = None) -> dict[str, float]:
        """All metrics on (N, C) probabilities, or what comes along with the one that is needed."""
        return classification_metrics(probabilities, self.labels, self.class_names, needed, self.healthy)

    def take(self, indices: Indices) -> Self:
        """The sample of these images, which may repeat."""
        return replace(self, labels=self.labels[indices], groups=self.groups[indices])

    @cached_property
    def members(self) -> list[Indices]:
        """The G groups, each as the indices of its images."""
        order = np.argsort(self.groups, kind="stable")
        starts = np.flatnonzero(np.diff(self.groups[order]))
        return np.split(order, starts + 1)

    @cached_property
    def group_classes(self) -> NDArray[np.int64]:
        """(G,) the class of each group: the most frequent label in it, the first of equals."""
        return np.array([np.bincount(self.labels[group]).argmax() for group in self.members])

    def groups_with(self, label: int) -> int:
        """How many groups have an image of a class."""
        return len(np.unique(self.groups[self.labels == label]))

    def resampled_groups(self, count: int, seed: int = 0) -> Iterator[Indices]:
        """Draws as many groups as there are, with replacement, within each class; ``count`` times, as positions."""
        generator = np.random.default_rng([seed, 11])
        by_class = [np.flatnonzero(self.group_classes == label) for label in np.unique(self.group_classes)]
        for _ in range(count):
            yield np.concatenate([generator.choice(groups, len(groups)) for groups in by_class])

    def images_of(self, positions: Indices) -> Indices:
        """The images of groups, given as positions, which may repeat."""
        return np.concatenate([self.members[position] for position in positions])


def intervals(
    probabilities: Probabilities,
    sample: Sample,
    measure: Callable[[Probabilities, Sample], dict[str, float]] | None = None,
    count: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95% percentile intervals of every figure from a bootstrap of groups within class (Efron and Tibshirani 1993).

    A class with fewer than ``GROUPS_FOR_INTERVAL`` groups gets none for its own metrics: so few, resampled, give one
    that is far too short. Averages over classes get one all the same, which is conditional on that class: say so
    beside it (``few_groups`` names the classes).

    Args:
        probabilities: (N, C).
        sample: The N images.
        measure: From probabilities and their sample to figures by name; None takes all metrics.
        count: Resamples.
        seed: Of the resamples.

    Returns:
        (low, high) of each figure that is defined on all resamples.
    """
    measure = measure or (lambda given, images: images.scores(given))
    drawn: dict[str, list[float]] = {}
    for groups in sample.resampled_groups(count, seed):
        images = sample.images_of(groups)
        for name, value in measure(probabilities[images], sample.take(images)).items():
            drawn.setdefault(name, []).append(value)
    withheld = {class_keys(sample.class_names)[label] for label in few_groups(sample)}
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in drawn.items()
        if len(values) == count and np.isfinite(values).all() and name.partition("/")[2] not in withheld
    }


def few_groups(sample: Sample) -> list[int]:
    """The classes that occur, but in fewer than ``GROUPS_FOR_INTERVAL`` groups."""
    return [int(label) for label in np.unique(sample.labels) if sample.groups_with(label) < GROUPS_FOR_INTERVAL]


def paired_scores(
    predictions: Sequence[Probabilities], sample: Sample, count: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(count, R) scores of R predictions (N, C) on the same resamples of groups within class."""
    rows = []
    for groups in sample.resampled_groups(count, seed):
        images = sample.images_of(groups)
        resampled = sample.take(images)
        rows.append([resampled.score(predicted[images]) for predicted in predictions])
    return np.array(rows)


def permutation_test(first: Probabilities, second: Probabilities, sample: Sample, seed: int = 0) -> float | None:
    """Two-sided p-value of a paired group-permutation test (Good 2005) of the difference in the sample's metric.

    Were the two models alike, exchanging their predictions of a whole group would change nothing but chance. All
    exchanges are tried where there are no more than 4,096, else so many drawn ones, the observed one counted among
    them, so that the p-value is never 0.

    Args:
        first: (N, C) probabilities of one model.
        second: (N, C) of the other.
        sample: The N images.
        seed: Of the draws.

    Returns:
        None with fewer than 6 groups, where no outcome could be rare, or where the metric is undefined.
    """
    count = len(sample.members)
    observed = abs(sample.score(first) - sample.score(second))
    if count < GROUPS_FOR_TEST or np.isnan(observed):
        return None
    position = np.empty(len(sample.labels), dtype=np.int64)
    for index, group in enumerate(sample.members):
        position[group] = index
    rare = 0
    exchanges = _exchanges(count, np.random.default_rng([seed, 12]))
    for exchanged in exchanges:
        swap = exchanged[position][:, None]
        difference = sample.score(np.where(swap, second, first)) - sample.score(np.where(swap, first, second))
        rare += abs(difference) >= observed - 1e-12
    return rare / len(exchanges)


def _exchanges(count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """(E, count) which groups are exchanged; the first row exchanges none."""
    if 2**count <= _MOST_EXCHANGES:
        return (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(bool)
    drawn = generator.random((_MOST_EXCHANGES, count)) < 0.5
    drawn[0] = False
    return drawn


def corrected_score(
    predictions: Sequence[Probabilities],
    sample: Sample,
    choose: Callable[[NDArray[np.float64]], int | Indices] | None = None,
    count: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """The score to expect of whichever configuration was chosen as the best, by BBC-CV (Tsamardinos et al. 2018).

    The best of many scores is too good: the luckiest is chosen. Here the choice is made on each resample of the
    groups and scored on the groups that it left out; the mean of these scores has no such optimism (it leans to the
    other side: a resample shows less than all groups do).

    Args:
        predictions: R configurations' out-of-fold probabilities (N, C) of the same images.
        sample: The N images.
        choose: From R scores to the position of the chosen one, or of several, whose mean is scored; None takes the
            best.
        count: Resamples.
        seed: Of the resamples.

    Returns:
        NaN where no resample leaves out groups of every class, as when a class has one group alone.
    """
    choose = choose or (lambda scores: best_position(scores.tolist(), sample.metric))
    scored, classes = [], len(np.unique(sample.labels))
    for groups in sample.resampled_groups(count, seed):
        left_out = np.setdiff1d(np.arange(len(sample.members)), groups)
        others = sample.images_of(left_out) if len(left_out) else left_out
        if len(np.unique(sample.labels[others])) < classes:
            continue  # without a class, an average over classes would mean something else
        images = sample.images_of(groups)
        resampled = sample.take(images)
        chosen = np.atleast_1d(choose(np.array([resampled.score(predicted[images]) for predicted in predictions])))
        together = np.mean([predictions[position][others] for position in chosen], axis=0)
        scored.append(sample.take(others).score(together))
    defined = [value for value in scored if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def best_position(scores: Sequence[float], metric: str) -> int:
    """The position of the best score, the first of equals; NaN is worst."""
    signed = np.array(scores) * (-1 if metric in MINIMIZED else 1)
    return int(np.argmax(np.where(np.isnan(signed), -np.inf, signed)))
