"""Permutation test of differences in a score between subgroups, and the correction for many tests."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 2000
_CELLS = 1_000_000  # permutations times images that are scored at once
# Maps (R, N) weights of N images to a score of each weighting, (R,); NaN if it is undefined.
ScoreOfDraws = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def subgroup_test(
    score: ScoreOfDraws,
    subgroup_of: NDArray[np.int64],
    group_of: NDArray[np.int64],
    group_classes: NDArray[np.int64],
    seed: int = 0,
) -> float | None:
    """Test by permutation whether a score differs between subgroups (Good 2005).

    The statistic is the range of the scores. If subgroups do not matter, their names can be exchanged between groups
    of one class. Exchanging within a class keeps the number of groups of each class in each subgroup, which may differ
    without a difference in performance. The observed assignment counts as one of the permutations, so the p-value is
    never 0.

    If groups have images of several classes, exchanged names may leave a subgroup without the images that the score
    needs. The test is therefore conditional on which subgroups have a score: it counts only permutations in which the
    same subgroups have one as in the observed assignment.

    Args:
        score: Function that computes the score.
        subgroup_of: (N,) subgroup of each image, from 0.
        group_of: (N,) position of each image's group, from 0.
        group_classes: (G,) class of each group, its rarest one (``Sample.group_classes``).
        seed: Seed of the permutations.

    Returns:
        None if the score is undefined in all subgroups but one, or if a group has images of several subgroups.
    """
    of_group = np.zeros(len(group_classes), dtype=np.int64)
    of_group[group_of] = subgroup_of
    if (of_group[group_of] != subgroup_of).any():
        return None
    generator = np.random.default_rng([seed, 31])
    assigned = np.tile(of_group, (PERMUTATIONS, 1))
    for label in np.unique(group_classes):
        members = np.flatnonzero(group_classes == label)
        assigned[1:, members] = generator.permuted(assigned[1:, members], axis=1)
    subgroups = np.unique(subgroup_of)
    parts = []
    for rows in np.array_split(assigned, -(-assigned.shape[0] * len(group_of) // _CELLS)):
        of_image = rows[:, group_of]
        parts.append(np.stack([score((of_image == subgroup).astype(np.int64)) for subgroup in subgroups], axis=1))
    scores = np.concatenate(parts)
    defined = np.isfinite(scores)
    if defined[0].sum() < 2:
        return None
    ranges = np.ptp(scores[(defined == defined[0]).all(axis=1)][:, defined[0]], axis=1)
    return float((ranges >= ranges[0] - 1e-12).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979): the chance of any false positive stays below the level."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    raised = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1.0)
    corrected = np.empty(len(p_values))
    corrected[order] = raised
    return list(map(float, corrected))
