"""Cross-fitting: rules are fitted to some groups of images and scored on others."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.data.splits.folds import deal_groups
from trainables.core.serving.combining.combine import Combination

FOLDS = 5
# With fewer groups, rules are not cross-fitted.
GROUPS_TO_FIT = 10


def group_folds(
    sample: Sample, folds: int = FOLDS, least: int = GROUPS_TO_FIT, seed: int = 0
) -> NDArray[np.int64] | None:
    """Assign whole groups to folds, stratified by class (``classes_of_groups``).

    Args:
        sample: N images.
        folds: Number of folds.
        least: Minimum number of groups.
        seed: Seed for the order of equal groups.

    Returns:
        (N,) fold of each image; None with fewer groups, or if all images outside some fold have the same class or the
        same labels, since a rule would then be fitted to these.
    """
    if len(sample.members) < least:
        return None
    fold_of = np.empty(len(sample.labels), dtype=np.int64)
    fold_of_group = deal_groups([len(group) for group in sample.members], sample.group_classes, folds, [seed, 13])
    for group, fold in zip(sample.members, fold_of_group, strict=True):
        fold_of[group] = fold
    outside = (sample.labels[fold_of != fold] for fold in np.unique(fold_of))
    return fold_of if all((labels != labels[0]).any() for labels in outside) else None


def cross_fitted(
    rule: Callable[[Probabilities, Sample], Combination],
    probabilities: Probabilities,
    sample: Sample,
    folds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return a rule's out-of-fold predictions, (N, C) or as its metrics score them, each fitted to all other folds."""
    held_out, parts = [], []
    for fold in np.unique(folds):
        fitted_to = np.flatnonzero(folds != fold)
        held_out.append(np.flatnonzero(folds == fold))
        fitted = rule(probabilities[:, fitted_to], sample.take(fitted_to))
        parts.append(fitted.scorable(probabilities[:, held_out[-1]]))
    combined: NDArray[np.float64] = np.concatenate(parts)[np.argsort(np.concatenate(held_out))]
    return combined
