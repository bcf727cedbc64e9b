"""Ensembles of segmenters: the mean of the best k, and how well it does. Masks are compared by counts of their pixels.

Predictions are (N, 3C) here: of each image, for each class, the pixels rightly, wrongly and not found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.choose_rule import Comparison, chosen_from
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Sample, intervals, permutation_test
from trainables.core.serving.combine import Combination
from trainables.core.training.segmentation_metrics import overlap, resampled_segmentation_metrics, segmentation_metrics

Counts = NDArray[np.floating]
BEST = "best-on-tune"


@dataclass(frozen=True)
class MaskSample(Sample):
    """Images with masks, in groups, and the metric that predictions of them are compared by."""

    def scores(self, counts: Counts, needed: str | None = None) -> dict[str, float]:  # noqa: ARG002
        """All metrics of (N, 3C) counts."""
        return segmentation_metrics(by_class(counts), self.class_names)

    def resampled_scores(
        self,
        counts: Counts,
        draws: NDArray[np.int64],
        needed: str | None = None,  # noqa: ARG002
    ) -> dict[str, NDArray[np.float64]]:
        """(R,) all metrics on R resamples, given as (R, N) how often each has drawn every image."""
        return resampled_segmentation_metrics(by_class(counts), self.class_names, draws)


def by_class(counts: Counts) -> Counts:
    """(N, 3C) counts as (N, C, 3)."""
    return counts.reshape(len(counts), -1, 3)


def mean_rules(members: int) -> tuple[str, ...]:
    """The rules there are for so many members, simplest first: the first alone, and the means of the first ones."""
    return (BEST, *(f"mean-of-{count}" for count in range(2, members + 1)))


def compare_masks(counts: Counts, sample: MaskSample, forced: str | None = None) -> Comparison:
    """Compares the means of the members that were best on ``tune``, which fit nothing to ``select``, and chooses one.

    Args:
        counts: (2M - 1, N, 3C) of the M members, best first, and of the means of the first 2, ..., M.
        sample: The N images.
        forced: A rule to choose whatever the comparison says.

    Raises:
        DataError: There is no such rule.
    """
    members = (len(counts) + 1) // 2
    rules = mean_rules(members)
    predictions: Mapping[str, Counts] = dict(zip(rules, [counts[0], *counts[members:]], strict=True))

    def combination(rule: str) -> Combination:
        return Combination.of((np.arange(members) <= rules.index(rule)).astype(np.float64))

    return chosen_from(predictions, combination, sample, forced, [])


def evaluate_masks(counts: Counts, combination: Combination, sample: MaskSample, best_member: int) -> Evaluation:
    """Scores an ensemble and its members.

    Args:
        counts: (2M - 1, N, 3C) on ``test``, as ``compare_masks`` takes them.
        combination: The ensemble's, one that ``compare_masks`` gave.
        sample: The N images.
        best_member: The position of the member that was best on ``select``.
    """
    members, voters = (len(counts) + 1) // 2, len(combination.voters())
    combined = counts[0] if voters == 1 else counts[members + voters - 2]
    alone = combination.voters() == [best_member]
    return Evaluation(
        ensemble=_score(combined, sample),
        members=tuple(_score(member, sample) for member in counts[:members]),
        best_member=best_member,
        p_value=None if alone else permutation_test(combined, counts[best_member], sample),
        groups=len(sample.members),
        conditional=(),
        absent=(),
    )


def _score(counts: Counts, sample: MaskSample) -> Scores:
    enough = len(sample.members) >= GROUPS_FOR_INTERVAL
    return Scores(
        metrics=sample.scores(counts),
        intervals=intervals(counts, sample) if enough else {},
        per_image=tuple(overlap(by_class(counts), "dice").mean(axis=1).tolist()),
    )
