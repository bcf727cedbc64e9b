"""Groups for a comparison of two ensembles that have different groups of the same images."""

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.source import numbered
from trainables.core.data.splits.groups import joined
from trainables.core.plural import plural


def have_same_groups(one: Dataset, other: Dataset) -> bool:
    """Return True if two data sets of the same images divide them into the same groups."""
    return np.array_equal(numbered(one.groups.tolist()), numbered(other.groups.tolist()))


def joint_groups(one: Dataset, other: Dataset) -> NDArray[np.int64]:
    """Return (N,) groups in which images are together that a chain of either grouping connects.

    Images that are together in either grouping are not independent, so intervals must not divide them.
    """
    return one.groups if have_same_groups(one, other) else joined(one.groups, other.groups)


def notes_on_groups(one: Dataset, other: Dataset, rows: NDArray[np.int64]) -> list[str]:
    """Return notes on different groups of two searches, A and B.

    Args:
        one: Data set of A.
        other: Data set of B.
        rows: Images that are compared.
    """
    if have_same_groups(one, other):
        return []
    groups = joined(one.groups, other.groups)
    notes = [
        "A and B have different groups of images, and intervals keep together what is together in either: --data DATA "
        "compares registered models on the same groups"
    ]
    for letter, data in zip("AB", (one, other), strict=True):
        seen = np.concatenate([indices for split, indices in data.splits.items() if split != "test"])
        related = np.isin(groups[rows], groups[seen]) & ~np.isin(data.groups[rows], data.groups[seen])
        if related.any():
            notes.append(
                f"by the groups of the other search, the search of {letter} has seen other images of the groups of "
                f"{plural(int(related.sum()), 'test image')}, so the scores of {letter} may be too good"
            )
    return notes
