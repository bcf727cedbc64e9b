"""Cross-validation's folds: all images but ``test``, in K parts that part no group, the same for every trial."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.splits.splits import SHARES, Items, Splits, make_splits
from trainables.core.errors import DataError

# The split that is divided into folds: with them there is no ``fit``, ``tune`` and ``select``.
POOL = "pool"
# Below these, one division says too little: groups of a class in ``tune`` or ``select``, and groups in all.
_FEW_OF_A_CLASS, _FEW_IN_ALL = 10, 200
_RECOMMENDED = 5

Folds = tuple[NDArray[np.int64], ...]


def make_folds(
    items: Items,
    usable: NDArray[np.int64],
    seed: int,
    mode: str,
    count: int,
    test_share: float = SHARES["test"],
) -> tuple[Splits, Folds]:
    """Divides the usable images into ``pool`` and ``test``, and the pool into folds.

    ``test`` is the very one that ``make_splits`` would make of the same images with the same seed and mode.

    Args:
        items: Labels, groups and what was published, for all N images.
        usable: Indices of the images to divide.
        seed: The same seed gives the same folds.
        mode: How ``test`` comes about, as ``make_splits`` takes it.
        count: K, at least 2.
        test_share: Of the images, where no test split was published.

    Returns:
        Sorted indices by split name, and of each fold.

    Raises:
        DataError: A class has no image, or too few groups for so many folds.
    """
    test = make_splits(items, usable, seed, mode, needed=("test",), test_share=test_share)["test"]
    pool = np.setdiff1d(usable, test)
    order = pool[np.argsort(items.groups[pool], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(items.groups[order])) + 1)
    classes = np.array([np.bincount(items.labels[group]).argmax() for group in groups])
    _check_groups(items, classes, count)
    fold_of = np.array(deal_groups([len(group) for group in groups], classes, count, [seed, 17]))
    folds = tuple(
        np.sort(np.concatenate([groups[position] for position in np.flatnonzero(fold_of == fold)]))
        for fold in range(count)
    )
    _check_training(items, pool, folds)
    return {POOL: pool, "test": test}, folds


def deal_groups(sizes: Sequence[int], classes: NDArray[np.int64], count: int, seed: Sequence[int]) -> list[int]:
    """Deals whole groups to folds, stratified by class: each to the one with the fewest of its class, then of all.

    Args:
        sizes: Images in each of G groups.
        classes: (G,) the class of each group.
        count: How many folds.
        seed: Of the order in which equals are dealt.

    Returns:
        Each group's fold, from 0.
    """
    generator = np.random.default_rng(list(seed))
    fold_of = [0] * len(sizes)
    total = np.zeros(count)
    for label in np.unique(classes):
        of_class = np.zeros(count)
        positions = generator.permutation(np.flatnonzero(classes == label))
        for position in sorted(positions.tolist(), key=lambda position: -sizes[position]):
            fold = int(np.lexsort((total, of_class))[0])
            fold_of[position] = fold
            of_class[fold] += sizes[position]
            total[fold] += sizes[position]
    return fold_of


def told_sizes(folds: Folds) -> str:
    """Like ``5 folds of 24 to 25 images``."""
    least, most = min(map(len, folds)), max(map(len, folds))
    return f"{len(folds)} folds of {least if least == most else f'{least} to {most}'} images"


def small_division(labels: NDArray[np.int64], groups: NDArray[np.int64], splits: Splits, names: Sequence[str]) -> str:
    """Why one division of these images into ``fit``, ``tune`` and ``select`` says little; empty where it may do."""
    found = {
        (split, name): len(np.unique(groups[indices[labels[indices] == label]]))
        for split, indices in ((split, splits[split]) for split in ("tune", "select"))
        for label, name in enumerate(names)
    }
    (split, name), least = min(found.items(), key=lambda item: item[1])
    everything = len(np.unique(groups[np.concatenate(list(splits.values()))]))
    if least >= _FEW_OF_A_CLASS and everything >= _FEW_IN_ALL:
        return ""
    where = f"{split} has {least} groups of {name}, and there are {everything} in all"
    return _recommended(where)


def small_set(groups_per_class: Mapping[str, int], everything: int) -> str:
    """The same before images are divided, from how many groups have an image of each class."""
    name, least = min(groups_per_class.items(), key=lambda item: item[1])
    about = round(min(SHARES["tune"], SHARES["select"]) * least)
    if about >= _FEW_OF_A_CLASS and everything >= _FEW_IN_ALL:
        return ""
    return _recommended(f"tune and select would have about {about} groups of {name} each, of {everything} in all")


def _recommended(where: str) -> str:
    return (
        f"a small set: {where}, so which model looks best is much by chance; tune-run --cv-folds {_RECOMMENDED} trains "
        f"every trial {_RECOMMENDED} times and compares on all images but the test set"
    )


def _check_groups(items: Items, classes: NDArray[np.int64], count: int) -> None:
    """Two classes must be in every fold, or a metric over classes would not be defined on it."""
    groups = np.bincount(classes, minlength=len(items.class_names))
    if (groups >= count).sum() < 2:
        told = ", ".join(f"{name} {number}" for name, number in zip(items.class_names, groups.tolist(), strict=True))
        raise DataError(
            f"--cv-folds {count} needs two classes of {count} groups each outside test, but there are {told}: "
            "take fewer folds, or add images"
        )


def _check_training(items: Items, pool: NDArray[np.int64], folds: Folds) -> None:
    for fold in folds:
        shown = np.unique(items.labels[np.setdiff1d(pool, fold)])
        unseen = [name for label, name in enumerate(items.class_names) if label not in shown]
        if unseen:
            raise DataError(
                f"--cv-folds needs every class in two groups outside test, so that each model is shown all of them, "
                f"but {', '.join(unseen)} has one: add images, or leave --cv-folds out"
            )
