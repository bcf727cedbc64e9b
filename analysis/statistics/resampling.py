"""Figures with their uncertainty: everything is resampled by whole groups, since images of a group are not independent.

All of it is seeded: the same predictions give the same figures.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.metric_names import MINIMIZED
from trainables.core.training.classification_metrics import (
    class_keys,
    classification_metrics,
    resampled_mean,
    resampled_metrics,
)

Probabilities = NDArray[np.floating]
Indices = NDArray[np.int64]
RESAMPLES = 1000
# Below these numbers of groups a class gets no interval, and a pair of models no test.
GROUPS_FOR_INTERVAL = 10
GROUPS_FOR_TEST = 6
_MOST_EXCHANGES = 4096
_CELLS = 1_000_000  # resamples by images that are scored at once


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
        """All metrics on (N, C) probabilities, or the one that is needed."""
        return classification_metrics(probabilities, self.labels, self.class_names, needed, self.healthy)

    def resampled_score(self, probabilities: Probabilities, draws: Indices) -> NDArray[np.float64]:
        """(R,) the metric on R resamples, given as (R, N) how often each has drawn every image."""
        undefined = np.full(len(draws), np.nan)
        return self.resampled_scores(probabilities, draws, self.metric).get(self.metric, undefined)

    def resampled_scores(
        self, probabilities: Probabilities, draws: Indices, needed: str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """(R,) all metrics on them, or the one that is needed."""
        return resampled_metrics(probabilities, self.labels, self.class_names, draws, needed, self.healthy)

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
    def group_of(self) -> Indices:
        """(N,) the position of each image's group in ``members``."""
        return np.unique(self.groups, return_inverse=True)[1]

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

    def resamples(self, count: int, seed: int = 0) -> Iterator[Indices]:
        """The same as (R, N), how often each of some of the resamples draws every image; ``count`` rows in all."""
        drawn = self.resampled_groups(count, seed)
        while rows := list(islice(drawn, max(_CELLS // len(self.labels), 1))):
            yield np.stack([np.bincount(row, minlength=len(self.members))[self.group_of] for row in rows])


def intervals(
    probabilities: Probabilities,
    sample: Sample,
    means: Mapping[str, NDArray[np.float64]] | None = None,
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
        means: Figures beside the metrics that are means over images, each as its (N,) values.
        count: Resamples.
        seed: Of the resamples.

    Returns:
        (low, high) of each figure that is defined on all resamples.
    """
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for draws in sample.resamples(count, seed):
        figures = sample.resampled_scores(probabilities, draws)
        figures |= {name: resampled_mean(values, draws) for name, values in (means or {}).items()}
        for name, values in figures.items():
            drawn.setdefault(name, []).append(values)
    found = {name: np.concatenate(parts) for name, parts in drawn.items()}
    withheld = {class_keys(sample.class_names)[label] for label in few_groups(sample)}
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in found.items()
        if np.isfinite(values).all() and name.partition("/")[2] not in withheld
    }


def few_groups(sample: Sample) -> list[int]:
    """The classes that occur, but in fewer than ``GROUPS_FOR_INTERVAL`` groups."""
    return [int(label) for label in np.unique(sample.labels) if sample.groups_with(label) < GROUPS_FOR_INTERVAL]


def paired_scores(
    predictions: Sequence[Probabilities], sample: Sample, count: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(count, R) scores of R predictions (N, C) on the same resamples of groups within class."""
    blocks = [
        np.stack([sample.resampled_score(predicted, draws) for predicted in predictions], axis=1)
        for draws in sample.resamples(count, seed)
    ]
    return np.concatenate(blocks)


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
    images = np.arange(len(sample.labels))
    both, twice = np.concatenate([first, second]), sample.take(np.concatenate([images, images]))
    exchanges = _exchanges(count, np.random.default_rng([seed, 12]))
    rare = 0
    for exchanged in np.array_split(exchanges, -(-exchanges.shape[0] * len(images) // _CELLS)):
        swap = exchanged[:, sample.group_of].astype(np.int64)
        one, other = (np.concatenate(drawn, axis=1) for drawn in ((1 - swap, swap), (swap, 1 - swap)))
        difference = twice.resampled_score(both, one) - twice.resampled_score(both, other)
        rare += int((abs(difference) >= observed - 1e-12).sum())
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
    scored: list[NDArray[np.float64]] = []
    classes = np.unique(sample.labels)[:, None] == sample.labels
    for draws in sample.resamples(count, seed):
        left_out = (draws == 0).astype(np.int64)
        whole = (left_out @ classes.T > 0).all(axis=1)  # without a class, an average would mean something else
        scores = np.stack([sample.resampled_score(predicted, draws) for predicted in predictions], axis=1)
        chosen: dict[tuple[int, ...], list[int]] = {}
        for row in np.flatnonzero(whole).tolist():
            chosen.setdefault(tuple(np.atleast_1d(choose(scores[row])).tolist()), []).append(row)
        for positions, rows in chosen.items():
            together = np.mean([predictions[position] for position in positions], axis=0)
            scored.append(sample.resampled_score(together, left_out[rows]))
    defined = np.concatenate([np.empty(0), *scored])
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")


def best_position(scores: Sequence[float], metric: str) -> int:
    """The position of the best score, the first of equals; NaN is worst."""
    signed = np.array(scores) * (-1 if metric in MINIMIZED else 1)
    return int(np.argmax(np.where(np.isnan(signed), -np.inf, signed)))
