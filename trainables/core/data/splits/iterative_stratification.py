"""Division of groups of images with several labels each, so that every side gets its share of every label.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011) deals the
rarest label first, because later labels can no longer make up for it. Here whole groups are dealt instead of images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.labels import Labels


def deal_by_labels(
    labels: Labels, groups: Sequence[NDArray[np.int64]], shares: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Deal G groups of images to S sides.

    Of the groups with the rarest label that is left, the largest come first. Each goes to the side that wants most
    images of the label, then most images. The last groups with a label go to sides that have none of it.

    Args:
        labels: (N, L) of 0 and 1. Images without a label count as a label of their own.
        groups: Indices of each group's images.
        shares: (S,) share of the images for each side, which sum to 1.
        generator: Generator of the order of equal groups.

    Returns:
        (G,) the side of each group.
    """
    counts = np.stack([_counts(labels[group]) for group in groups])
    sizes = np.array([len(group) for group in groups])
    wanted, room = np.outer(shares, counts.sum(axis=0)), shares * sizes.sum()
    dealt = np.zeros(wanted.shape)
    side_of = np.full(len(groups), -1)
    order = generator.permutation(len(groups))
    while len(left := order[side_of[order] < 0]):
        holders = (counts[left] > 0).sum(axis=0)
        label = int(np.where(holders > 0, holders, len(groups) + 1).argmin())
        with_label = left[counts[left, label] > 0]
        for position, group in enumerate(with_label[np.argsort(-counts[with_label, label], kind="stable")].tolist()):
            empty = np.flatnonzero(dealt[:, label] == 0)
            sides = empty if len(with_label) - position <= len(empty) else np.arange(len(shares))
            side = int(sides[np.lexsort((room[sides], wanted[sides, label]))[-1]])
            side_of[group] = side
            dealt[side] += counts[group]
            wanted[side] -= counts[group]
            room[side] -= sizes[group]
    return side_of


def _counts(labels: Labels) -> NDArray[np.int64]:
    """Return the (L + 1,) numbers of images with each label and without any."""
    return np.append(labels.sum(axis=0), (labels.sum(axis=1) == 0).sum())
