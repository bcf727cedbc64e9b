"""Splits: ``fit`` trains, ``tune`` steers the search, ``select`` picks members, ``test`` stays sealed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.labels import Labels, classes_of_groups, membership
from trainables.core.data.splits.iterative_stratification import deal_by_labels
from trainables.core.errors import DataError

SPLITS = ("fit", "tune", "select", "test")
MODES = ("grouped", "published", "random")
# Shares of all images, or of those outside a test split that already exists.
SHARES: Mapping[str, float] = {"fit": 0.6, "tune": 0.125, "select": 0.125, "test": 0.15}
# The class of a group that splits and folds are stratified by: its rarest one, or, in searches that older versions
# began, its most frequent one.
RAREST, MOST_FREQUENT = "rarest class", "most frequent class"

Splits = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Items:
    """Input of a split.

    Attributes:
        labels: (N,) int64 classes, or (N, C) of 0 and 1 if images have several labels.
        groups: (N,) int64. A group is never divided, except by a test split that was not made of groups.
        published: (N,) of ``train``, ``val``, ``test`` or "".
        class_names: C names.
        stratify_by: ``RAREST`` or ``MOST_FREQUENT``, for images with one class each.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    published: NDArray[np.str_]
    class_names: tuple[str, ...]
    stratify_by: str = RAREST

    @property
    def several(self) -> bool:
        """True if images may have several labels."""
        return self.labels.ndim == 2

    @cached_property
    def has(self) -> NDArray[np.bool_]:
        """(N, C): True where an image has a class."""
        return membership(self.labels, len(self.class_names))

    def strata(self, groups: Sequence[NDArray[np.int64]]) -> Labels:
        """Return the (G,) class of each group, given by the indices of its images, to stratify by."""
        if self.stratify_by == MOST_FREQUENT:
            return np.array([np.bincount(self.labels[group]).argmax() for group in groups])
        return classes_of_groups(self.labels, groups, len(self.class_names))

    def absent(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the names of the classes that no image at ``indices`` has."""
        return [name for name, column in zip(self.class_names, self.has[indices].T, strict=True) if not column.any()]


def make_splits(
    items: Items,
    usable: NDArray[np.int64],
    seed: int,
    mode: str = "grouped",
    needed: Sequence[str] = SPLITS,
    test_share: float = SHARES["test"],
) -> Splits:
    """Divide the usable images into ``fit``, ``tune``, ``select`` and ``test``, stratified by class.

    Each group goes as a whole to the split that is furthest below its share of the group's class (``Items.strata``).
    Images with several labels are divided by ``deal_by_labels``. The mode decides how ``test`` is made:

    - ``grouped``: from whole groups. A published test split is used unless a group straddles it.
    - ``published``: as published. Groups may straddle it.
    - ``random``: image by image. Groups may straddle it.

    A published ``train`` and ``val`` are pooled. The groups of a class with fewer groups than splits go to ``fit``,
    ``test``, ``tune``, ``select`` in this order.

    Args:
        items: Labels, groups and published splits of all N images.
        usable: Indices of the images to divide.
        seed: The same seed gives the same splits.
        mode: One of ``MODES``.
        needed: Splits that must have two classes if they are made of groups.
        test_share: Share of ``test`` if no test split was published. The other splits keep their proportions.

    Returns:
        Sorted indices by split name.

    Raises:
        DataError: A class has no image, a needed split has fewer than two classes, ``fit`` has a single image, or there
            is no published test split, or nothing else.
    """
    test = _separate_test(items, usable, seed, mode, test_share)
    if len(usable) and len(test) == len(usable):
        raise DataError(
            f"training needs images outside the published test split, but all {len(usable)} usable images are in it: "
            "add others, or give the data without that split"
        )
    names = SPLITS[:3] if len(test) else SPLITS
    pool = np.setdiff1d(usable, test)
    rest = (1 - test_share) / (1 - SHARES["test"])
    shares = np.array([test_share if name == "test" else SHARES[name] * rest for name in names])
    generator = np.random.default_rng([seed, 2])
    members: dict[str, list[int]] = {name: [] for name in names}
    for class_name in items.absent(usable)[:1]:
        raise DataError(f"every class needs images, but {class_name!r} has none: add some, or remove the class")
    dealt = _dealt_by_labels if items.several else _dealt_by_class
    for group, side in dealt(items, pool, shares, generator):
        members[names[side]].extend(group.tolist())
    splits = {name: np.array(sorted(indices), dtype=np.int64) for name, indices in members.items()}
    check_classes(items, {name: indices for name, indices in splits.items() if name in needed})
    if "fit" in needed:
        _check_training(items, splits["fit"], mode)
    return splits if len(test) == 0 else {**splits, "test": test}


def twins_across(items: Items, splits: Splits) -> int:
    """Return how many test images have an image of their own group outside the test split."""
    outside = np.concatenate([items.groups[indices] for name, indices in splits.items() if name != "test"])
    return int(np.isin(items.groups[splits["test"]], outside).sum())


def missing_classes(items: Items, splits: Splits) -> dict[str, list[str]]:
    """Return, for each class that some splits lack, the names of these splits."""
    missing = {
        class_name: [name for name, indices in splits.items() if not items.has[indices, index].any()]
        for index, class_name in enumerate(items.class_names)
    }
    return {class_name: names for class_name, names in missing.items() if names}


def _separate_test(
    items: Items, usable: NDArray[np.int64], seed: int, mode: str, test_share: float
) -> NDArray[np.int64]:
    """Return the test split if it is not made of groups together with the other splits; else an empty array."""
    published: NDArray[np.int64] = usable[items.published[usable] == "test"]
    if mode == "published":
        if len(published) == 0:
            raise DataError("--split published needs a published test split, but there is none: use grouped or random")
        return published
    if mode == "random":
        generator = np.random.default_rng([seed, 3])
        if items.several:
            shares = np.array([test_share, 1 - test_share])
            sides = deal_by_labels(items.labels, np.split(usable, len(usable)), shares, generator)
            return np.asarray(usable[sides == 0], dtype=np.int64)
        of_class = [usable[items.labels[usable] == index] for index in range(len(items.class_names))]
        drawn = [generator.permutation(images)[: round(test_share * len(images))] for images in of_class]
        return np.asarray(np.sort(np.concatenate(drawn)), dtype=np.int64)
    straddles = np.isin(items.groups[published], items.groups[np.setdiff1d(usable, published)]).any()
    return published[:0] if straddles else published


def check_classes(items: Items, splits: Splits) -> None:
    """Check that each split has images, and a class that some but not all of them have.

    Raises:
        DataError: A split does not.
    """
    for name, indices in splits.items():
        has = np.asarray(items.has[indices])
        if len(items.class_names) == 1 and not len(indices):  # a segmentation
            raise DataError(f"each of {', '.join(splits)} needs images, but {name} has none: there are too few groups")
        if len(items.class_names) > 1 and not (has.any(axis=0) & ~has.all(axis=0)).any():
            kind = "images" if len(np.unique(items.groups)) == len(items.groups) else "groups of images"
            if items.several:
                rule = f"each of {', '.join(splits)} needs a label that some of its images have, but not all"
                raise DataError(f"{rule}, but {name} has none: there are too few {kind}")
            absent = items.absent(indices)
            raise DataError(
                f"each of {', '.join(splits)} needs at least two classes, but {name} has "
                f"{len(items.class_names) - len(absent)}: "
                f"{', '.join(absent)} {'have' if len(absent) > 1 else 'has'} too few {kind}: add images"
            )


def _check_training(items: Items, fit: NDArray[np.int64], mode: str) -> None:
    if len(fit) < 2:  # possible in a segmentation only
        raise DataError(f"fit needs at least two images, but has {len(fit)}: add some")
    everywhere = np.all(items.has[fit], axis=0)
    if items.several and everywhere.any():
        name = items.class_names[int(everywhere.argmax())]
        raise DataError(f"fit needs images without each label, but all have {name}: add some, or leave the label out")
    absent = items.absent(fit)
    if absent:
        other_mode = "use --split grouped, " if mode == "published" else ""
        raise DataError(
            f"fit needs images of every class, but has none of {', '.join(absent)}: all their groups are in the "
            f"published test split; {other_mode}add images, or remove the class"
        )


def groups_in(items: Items, pool: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the groups of the images in ``pool`` as arrays of indices."""
    order = pool[np.argsort(items.groups[pool], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(items.groups[order])) + 1)


def _dealt_by_labels(
    items: Items, pool: NDArray[np.int64], shares: NDArray[np.float64], generator: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield each group with its split."""
    groups = groups_in(items, pool)
    yield from zip(groups, deal_by_labels(items.labels, groups, shares / shares.sum(), generator).tolist(), strict=True)


def _dealt_by_class(
    items: Items, pool: NDArray[np.int64], shares: NDArray[np.float64], generator: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield each group with its split, stratified by class."""
    groups = groups_in(items, pool)
    strata = items.strata(groups)
    for index in range(len(items.class_names)):
        of_class = np.flatnonzero(strata == index)
        shuffled = [groups[position] for position in generator.permutation(of_class)]
        largest_first = sorted(shuffled, key=len, reverse=True)
        yield from zip(largest_first, _deal([len(group) for group in largest_first], shares), strict=True)


def _deal(sizes: list[int], shares: NDArray[np.float64]) -> list[int]:
    """Return the split of each group, largest first: the split that is furthest below its share.

    The last groups fill splits that are still empty. If there are fewer groups than splits, they go to ``fit``,
    ``test`` (if it is dealt), ``tune``, ``select``.
    """
    if len(sizes) < len(shares):
        return [0, *range(3, len(shares)), 1, 2][: len(sizes)]
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
