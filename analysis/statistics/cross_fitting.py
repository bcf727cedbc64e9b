"""Cross-fitting: what is fitted to images is scored on others, whole groups apart."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.data.splits.folds import deal_groups
from trainables.core.serving.combine import Combination

FOLDS = 5
# With fewer groups, nothing can be both fitted to them and scored on them.
GROUPS_TO_FIT = 10


def group_folds(
    sample: Sample, folds: int = FOLDS, least: int = GROUPS_TO_FIT, seed: int = 0
) -> NDArray[np.int64] | None:
    """Deals whole groups to folds, stratified by class.

    Args:
        sample: N images.
        folds: How many.
        least: The fewest groups to divide.
        seed: Of the order in which equals are dealt.

    Returns:
        (N,) each image's fold; None with fewer groups, or where there are no two classes of two groups each, so that
        something would be fitted to one class alone.
    """
    _, counts = np.unique(sample.group_classes, return_counts=True)
    if counts.sum() < least or (counts > 1).sum() < 2:
        return None
    fold_of = np.empty(len(sample.labels), dtype=np.int64)
    dealt = deal_groups([len(group) for group in sample.members], sample.group_classes, folds, [seed, 13])
    for group, fold in zip(sample.members, dealt, strict=True):
        fold_of[group] = fold
    return fold_of


def cross_fitted(
    rule: Callable[[Probabilities, Sample], Combination],
    probabilities: Probabilities,
    sample: Sample,
    folds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Out-of-fold predictions of a rule: (N, C), each row by the rule fitted to all folds but its image's own."""
    combined = np.empty(probabilities.shape[1:])
    for fold in np.unique(folds):
        shown, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = rule(probabilities[:, shown], sample.take(shown))
        combined[held_out] = fitted.apply(probabilities[:, held_out])
    return combined
