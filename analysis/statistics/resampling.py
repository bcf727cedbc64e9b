"""Resamples, tests and corrected scores, all resampled by whole groups because images of a group are not independent.

Everything is seeded: the same predictions give the same numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from analysis.statistics.intervals.score_parts import ScoreParts, class_parts
from trainables.core.data.labels import classes_of_groups, membership
from trainables.core.metric_names import MINIMIZED, RANKED
from trainables.core.training.metrics.classification_metrics import (
    Resamples,
    classification_metrics,
    resampled_metrics,
)

Probabilities = NDArray[np.floating]
Indices = NDArray[np.int64]
RESAMPLES = 1000
# With fewer groups, a class gets no interval, and two models are not tested against each other.
GROUPS_FOR_INTERVAL = 10
GROUPS_FOR_TEST = 6
_MOST_EXCHANGES = 4096
_CELLS = 1_000_000  # resamples times images that are scored at once


@dataclass(frozen=True)
class Kind:
    """Images of a class, or those without a label.

    Attributes:
        name: Name of the class or label.
        groups: Number of groups with such images.
        present: False for the images without the label.
    """

    name: str
    groups: int
    present: bool = True

    @property
    def is_few(self) -> bool:
        """True with fewer groups than ``GROUPS_FOR_INTERVAL``, but at least one."""
        return 0 < self.groups < GROUPS_FOR_INTERVAL

    def __str__(self) -> str:
        return f"{'of' if self.present else 'without'} {self.name}"


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled images in groups, and the metric that scores predictions of them.

    Attributes:
        labels: (N,) int64 classes.
        groups: (N,) int64 groups; images of one group (a patient, a set of twins) are not independent.
        class_names: C names.
        metric: Bare name of the metric.
        healthy: Class without a disease, or None.
        ordered: True if the classes are grades, in the order of ``class_names``.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    class_names: tuple[str, ...]
    metric: str
    healthy: str | None = None
    ordered: bool = False

    def score(self, probabilities: Probabilities) -> float:
        """Compute the metric of (N, C) probabilities; NaN if it is undefined on these images."""
        return self.scores(probabilities, self.metric).get(self.metric, float("nan"))

    def scores(self, probabilities: Probabilities, needed: str | None = None) -> dict[str, float]:
        """Compute all metrics of (N, C) probabilities, or only ``needed``."""
        return classification_metrics(probabilities, self.labels, self.class_names, needed, self.healthy, self.ordered)

    def resampled_score(self, probabilities: Probabilities, draws: Indices) -> NDArray[np.float64]:
        """Compute the metric on R resamples: (R,), from (R, N) counts of how often each resample drew each image."""
        undefined = np.full(len(draws), np.nan)
        return self.resampled_scores(probabilities, draws, self.metric).get(self.metric, undefined)

    def resampled_scores(
        self, probabilities: Probabilities, draws: Indices, needed: str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Compute all metrics on R resamples, or only ``needed``; (R,) each."""
        resamples = Resamples(probabilities, self.labels, draws)
        return resampled_metrics(resamples, self.class_names, needed, self.healthy, self.ordered)

    def parts(self, probabilities: Probabilities) -> ScoreParts:
        """Return the parts that the metrics of (N, C) probabilities are made of."""
        return class_parts(probabilities, self.labels, self.class_names, self.healthy)

    def at_level_of_metric(self, predictions: Sequence[Probabilities]) -> tuple[Sequence[Probabilities], "Sample"]:
        """Return predictions and their sample with one row per unit that the metric counts, such as a patient."""
        return predictions, self

    def take(self, indices: Indices) -> Self:
        """Return the sample of these images, which may repeat."""
        return replace(self, labels=self.labels[indices], groups=self.groups[indices])

    @cached_property
    def members(self) -> list[Indices]:
        """The G groups, each as the indices of its images."""
        order = np.argsort(self.groups, kind="stable")
        starts = np.flatnonzero(np.diff(self.groups[order]))
        return np.split(order, starts + 1)

    @cached_property
    def group_of(self) -> Indices:
        """(N,) position of each image's group in ``members``."""
        return np.unique(self.groups, return_inverse=True)[1]

    @cached_property
    def group_classes(self) -> NDArray[np.int64]:
        """(G,) class of each group to stratify by, its rarest one (``classes_of_groups``)."""
        return classes_of_groups(self.labels, self.members, len(self.class_names))

    def has(self, label: int) -> NDArray[np.bool_]:
        """Return (N,): True for the images of a class."""
        return membership(self.labels, len(self.class_names))[:, label]

    def groups_with(self, label: int) -> int:
        """Return the number of groups with an image of a class."""
        return len(np.unique(self.groups[self.has(label)]))

    def rarer(self, label: int) -> "Kind":
        """Return the kind of images on whose groups the figures of a class rest."""
        return Kind(self.class_names[label], self.groups_with(label))

    def scarce(self) -> "tuple[tuple[Kind, ...], tuple[Kind, ...]]":
        """Return the kinds of images that too few groups have, and those that none has."""
        kinds = list(map(self.rarer, range(len(self.class_names))))
        return tuple(one for one in kinds if one.is_few), tuple(one for one in kinds if not one.groups)

    def resampled_groups(self, count: int, seed: int = 0) -> Iterator[Indices]:
        """Draw groups with replacement within each class, as many as it has; yield ``count`` arrays of positions."""
        generator = np.random.default_rng([seed, 11])
        by_class = [np.flatnonzero(self.group_classes == label) for label in np.unique(self.group_classes)]
        for _ in range(count):
            # the same draws as generator.choice(groups, len(groups)), which takes longer than the drawing itself
            drawn = [groups[generator.integers(len(groups), size=len(groups))] for groups in by_class]
            yield np.concatenate(drawn)

    def resamples(self, count: int, seed: int = 0) -> Iterator[Indices]:
        """Yield the same as (R, N) counts of how often each resample draws each image; ``count`` rows in total."""
        drawn = self.resampled_groups(count, seed)
        while rows := list(islice(drawn, max(_CELLS // len(self.labels), 1))):
            yield np.stack([np.bincount(row, minlength=len(self.members))[self.group_of] for row in rows])


def few_groups(sample: Sample) -> list[int]:
    """Return the classes whose figures rest on fewer than ``GROUPS_FOR_INTERVAL`` groups, but on at least one."""
    return [label for label in range(len(sample.class_names)) if sample.rarer(label).is_few]


def sides(groups: NDArray[np.int64], positive: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the number of groups with a positive, and with a negative."""
    return len(np.unique(groups[positive])), len(np.unique(groups[~positive]))


def paired_scores(
    predictions: Sequence[Probabilities], sample: Sample, count: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Score R predictions (N, C) on the same resamples of groups within class: (count, R)."""
    predictions, sample = sample.at_level_of_metric(predictions)
    blocks = [
        np.stack([sample.resampled_score(predicted, draws) for predicted in predictions], axis=1)
        for draws in sample.resamples(count, seed)
    ]
    return np.concatenate(blocks)


def permutation_test(first: Probabilities, second: Probabilities, sample: Sample, seed: int = 0) -> float | None:
    """Test the difference of two models in the sample's metric by a paired group permutation test (Good 2005).

    If the models are equally good, their predictions of a whole group can be exchanged. The test tries all exchanges
    if there are at most 4,096, and 4,096 random ones otherwise. The observed assignment is one of them, so the p-value
    is never 0.

    In a metric of ranks, such as AUROC, ranks are exchanged (Venkatraman and Begg 1996; Bandos, Rockette and Gur 2005):
    mixing the probabilities of two models with different calibration changes the order of the images.

    Args:
        first: (N, C) probabilities of one model.
        second: (N, C) probabilities of the other model.
        sample: The N images.
        seed: Seed of the random exchanges.

    Returns:
        Two-sided p-value; None if the metric is undefined, or with fewer than 6 groups, when no outcome can be rare.
    """
    (first, second), sample = sample.at_level_of_metric([first, second])
    count = len(sample.members)
    observed = abs(sample.score(first) - sample.score(second))
    if count < GROUPS_FOR_TEST or np.isnan(observed):
        return None
    if sample.metric.partition("/")[0] in RANKED:
        first, second = rankdata(first, axis=0), rankdata(second, axis=0)
    images = np.arange(len(sample.labels))
    both, doubled = np.concatenate([first, second]), sample.take(np.concatenate([images, images]))
    exchanges = _exchanges(count, np.random.default_rng([seed, 12]))
    rare = 0
    for exchanged in np.array_split(exchanges, -(-exchanges.shape[0] * len(images) // _CELLS)):
        swap = exchanged[:, sample.group_of].astype(np.int64)
        one, other = (np.concatenate(drawn, axis=1) for drawn in ((1 - swap, swap), (swap, 1 - swap)))
        difference = doubled.resampled_score(both, one) - doubled.resampled_score(both, other)
        rare += int((abs(difference) >= observed - 1e-12).sum())
    return rare / len(exchanges)


def _exchanges(count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return (E, count) masks of the groups to exchange; the first row exchanges none."""
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
    """Estimate the score of a configuration that was chosen as the best, by BBC-CV (Tsamardinos et al. 2018).

    The best of many scores is optimistic because luck helped to choose it. Here, each resample of the groups makes the
    choice, and the groups it left out score it. The mean of these scores is not optimistic; it is slightly pessimistic,
    because a resample holds less information than all groups.

    Args:
        predictions: (N, C) out-of-fold probabilities of R configurations on the same images.
        sample: The N images.
        choose: Maps R scores to the position of the chosen configuration, or to several, whose mean is scored; None
            chooses the best.
        count: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        NaN if no resample leaves out groups of every class, as when a class has a single group.
    """
    predictions, sample = sample.at_level_of_metric(predictions)
    choose = choose or (lambda scores: best_position(scores.tolist(), sample.metric))
    scored: list[NDArray[np.float64]] = []
    classes = membership(sample.labels, len(sample.class_names)).T
    classes = classes[classes.any(axis=1)]
    for draws in sample.resamples(count, seed):
        left_out = (draws == 0).astype(np.int64)
        complete = (left_out @ classes.T > 0).all(axis=1)  # an average over fewer classes would be another metric
        scores = np.stack([sample.resampled_score(predicted, draws) for predicted in predictions], axis=1)
        chosen: dict[tuple[int, ...], list[int]] = {}
        for row in np.flatnonzero(complete).tolist():
            chosen.setdefault(tuple(np.atleast_1d(choose(scores[row])).tolist()), []).append(row)
        for positions, rows in chosen.items():
            together = np.mean([predictions[position] for position in positions], axis=0)
            scored.append(sample.resampled_score(together, left_out[rows]))
    defined = np.concatenate([np.empty(0), *scored])
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")


def best_position(scores: Sequence[float], metric: str) -> int:
    """Return the position of the best score, the first of equals; NaN is worst."""
    signed = np.array(scores) * (-1 if metric in MINIMIZED else 1)
    return int(np.argmax(np.where(np.isnan(signed), -np.inf, signed)))
