"""Who sees which image: ``fit`` trains, ``tune`` steers the search, ``select`` picks members, ``test`` is sealed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError

SPLITS = ("fit", "tune", "select", "test")
# Shares of the images: of all where no test split was published, else of what is not in it.
SHARES: Mapping[str, float] = {"fit": 0.6, "tune": 0.125, "select": 0.125, "test": 0.15}

Splits = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Items:
    """What a split is made from.

    Attributes:
        labels: (N,) int64 classes.
        groups: (N,) int64; images of one group are never parted, but where the published test split parts them.
        published: (N,) of ``train``, ``val``, ``test`` or "".
        class_names: C names.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    published: NDArray[np.str_]
    class_names: tuple[str, ...]


def make_splits(items: Items, usable: NDArray[np.int64], seed: int) -> Splits:
    """Divides the usable images into ``fit``, ``tune``, ``select`` and ``test``, stratified by class.

    A published ``test`` stays the test split; ``train`` and ``val`` are pooled and divided anew. Whole groups go to
    one side, each to the split that is furthest behind its share of the group's class.

    Args:
        items: Labels, groups and what was published, for all N images.
        usable: Indices of the images to divide.
        seed: The same seed gives the same splits.

    Returns:
        Sorted indices by split name; every class occurs in every split that is made here.

    Raises:
        DataError: A class has too few groups to occur in every split.
    """
    in_test = items.published[usable] == "test"
    names = SPLITS[:3] if in_test.any() else SPLITS
    pool = usable[~in_test]
    shares = np.array([SHARES[name] for name in names])
    members: dict[str, list[int]] = {name: [] for name in names}
    generator = np.random.default_rng([seed, 2])
    by_class = _groups_by_class(items, pool)
    for index, class_name in enumerate(items.class_names):
        groups = by_class.get(index, [])
        if len(groups) < len(names):
            kind = "images" if len(np.unique(items.groups)) == len(items.groups) else "groups of images"
            raise DataError(
                f"every class needs at least {len(names)} {kind}, one for each of {', '.join(names)}, "
                f"but {class_name!r} has {len(groups)}: add images, or leave the class out"
            )
        shuffled = [groups[position] for position in generator.permutation(len(groups))]
        largest_first = sorted(shuffled, key=len, reverse=True)
        for group, side in zip(largest_first, _deal([len(group) for group in largest_first], shares), strict=True):
            members[names[side]].extend(group.tolist())
    splits = {name: np.array(sorted(indices), dtype=np.int64) for name, indices in members.items()}
    if in_test.any():
        splits["test"] = usable[in_test]
    return splits


def twins_across(items: Items, splits: Splits) -> int:
    """How many test images have an image of their own group outside the test split."""
    outside = np.concatenate([items.groups[splits[name]] for name in SPLITS[:3]])
    return int(np.isin(items.groups[splits["test"]], outside).sum())


def _groups_by_class(items: Items, pool: NDArray[np.int64]) -> dict[int, list[NDArray[np.int64]]]:
    """The pool's groups, as arrays of indices, under the class that is most frequent in each."""
    order = pool[np.argsort(items.groups[pool], kind="stable")]
    starts = np.flatnonzero(np.diff(items.groups[order], prepend=-1))
    by_class: dict[int, list[NDArray[np.int64]]] = {}
    for group in np.split(order, starts[1:]):
        by_class.setdefault(int(np.bincount(items.labels[group]).argmax()), []).append(group)
    return by_class


def _deal(sizes: list[int], shares: NDArray[np.float64]) -> list[int]:
    """Gives each group, largest first, to the side furthest below its share; the last ones fill sides left empty."""
    targets = shares / shares.sum() * sum(sizes)
    dealt = np.zeros(len(shares))
    sides: list[int] = []
    for position, size in enumerate(sizes):
        empty = np.flatnonzero(dealt == 0)
        behind = targets - dealt
        if len(sizes) - position <= len(empty):
            behind[dealt > 0] = -np.inf
        side = int(np.argmax(behind))
        dealt[side] += size
        sides.append(side)
    return sides
