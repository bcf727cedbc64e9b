"""Folds of cross-validation: all images except ``test``, in K parts of whole groups, the same for every trial."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.labels import membership
from trainables.core.data.splits.iterative_stratification import deal_by_labels
from trainables.core.data.splits.splits import SHARES, Items, Splits, check_classes, groups_in, make_splits
from trainables.core.errors import DataError
from trainables.core.plural import plural

# The split that is divided into folds. It replaces ``fit``, ``tune`` and ``select``.
POOL = "pool"
# A single division is too noisy below these: groups of a class in ``tune`` or ``select``, and groups in total.
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
    """Divide the usable images into ``pool`` and ``test``, and the pool into folds.

    ``test`` equals the one that ``make_splits`` makes of the same images with the same seed and mode.

    Args:
        items: Labels, groups and published splits of all N images.
        usable: Indices of the images to divide.
        seed: The same seed gives the same folds.
        mode: How ``test`` is made, see ``make_splits``.
        count: K, at least 2.
        test_share: Share of ``test`` if no test split was published.

    Returns:
        Sorted indices by split name, and of each fold.

    Raises:
        DataError: A class has no image, or there are too few groups for this number of folds.
    """
    test = make_splits(items, usable, seed, mode, needed=("test",), test_share=test_share)["test"]
    pool = np.setdiff1d(usable, test)
    groups = groups_in(items, pool)
    if len(groups) < count:
        raise DataError(
            f"--cv-folds {count} needs at least {count} groups outside test, but there are {len(groups)}: use fewer "
            "folds, or add images"
        )
    fold_of = (_fold_by_labels if items.several else _fold_by_class)(items, groups, count, [seed, 17])
    folds = tuple(
        np.sort(np.concatenate([groups[position] for position in np.flatnonzero(fold_of == fold)]))
        for fold in range(count)
    )
    if items.several:
        check_classes(items, {f"fold {number}": fold for number, fold in enumerate(folds, 1)})
    else:
        _check_folds(items, groups, folds)
    _check_training(items, pool, folds)
    return {POOL: pool, "test": test}, folds


def _fold_by_labels(
    items: Items, groups: Sequence[NDArray[np.int64]], count: int, seed: Sequence[int]
) -> NDArray[np.int64]:
    return deal_by_labels(items.labels, groups, np.full(count, 1 / count), np.random.default_rng(list(seed)))


def _fold_by_class(
    items: Items, groups: Sequence[NDArray[np.int64]], count: int, seed: Sequence[int]
) -> NDArray[np.int64]:
    return np.array(deal_groups([len(group) for group in groups], items.strata(groups), count, seed))


def deal_groups(sizes: Sequence[int], classes: NDArray[np.int64], count: int, seed: Sequence[int]) -> list[int]:
    """Deal whole groups to folds, stratified by class.

    Each group goes to the fold with the fewest images of its class, then with the fewest images.

    Args:
        sizes: Images in each of G groups.
        classes: (G,) class of each group.
        count: Number of folds.
        seed: Seed of the order in which groups of equal size are dealt.

    Returns:
        The fold of each group, from 0.
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


def describe_sizes(folds: Folds) -> str:
    """Describe the folds, like ``5 folds of 24 to 25 images``."""
    least, most = min(map(len, folds)), max(map(len, folds))
    return f"{len(folds)} folds of {least if least == most else f'{least} to {most}'} images"


def small_division(labels: NDArray[np.int64], groups: NDArray[np.int64], splits: Splits, names: Sequence[str]) -> str:
    """Return why one division into ``fit``, ``tune`` and ``select`` is too noisy for these images; "" if it is not."""
    has = membership(labels, len(names))
    found = {
        (split, name): len(np.unique(groups[indices[has[indices, label]]]))
        for split, indices in ((split, splits[split]) for split in ("tune", "select"))
        for label, name in enumerate(names)
    }
    (split, name), least = min(found.items(), key=lambda item: item[1])
    everything = len(np.unique(groups[np.concatenate(list(splits.values()))]))
    if least >= _FEW_OF_A_CLASS and everything >= _FEW_IN_ALL:
        return ""
    where = f"{split} has {plural(least, 'group')} of {name}, and there are {everything} groups in total"
    return _recommended(where)


def small_set(groups_per_class: Mapping[str, int], everything: int) -> str:
    """Return why one division would be too noisy, from the number of groups with each class; "" if it would not."""
    name, least = min(groups_per_class.items(), key=lambda item: item[1])
    about = round(min(SHARES["tune"], SHARES["select"]) * least)
    if about >= _FEW_OF_A_CLASS and everything >= _FEW_IN_ALL:
        return ""
    return _recommended(
        f"tune and select would have about {plural(about, 'group')} of {name} each, of {everything} in total"
    )


def _recommended(where: str) -> str:
    return (
        f"small data set: {where}, so the best-looking model is largely due to chance; tune-run --cv-folds "
        f"{_RECOMMENDED} trains each trial {_RECOMMENDED} times and compares on all images except the test set"
    )


def _check_folds(items: Items, groups: Sequence[NDArray[np.int64]], folds: Folds) -> None:
    """Raise DataError unless two classes are in every fold. Otherwise metrics over classes would be undefined."""
    if min(items.has[fold].any(axis=0).sum() for fold in folds) < 2:
        found = np.sum([items.has[group].any(axis=0) for group in groups], axis=0)
        counts = ", ".join(f"{name} {number}" for name, number in zip(items.class_names, found.tolist(), strict=True))
        raise DataError(
            f"--cv-folds {len(folds)} needs two classes of {len(folds)} groups each outside test, but there are "
            f"{counts}: use fewer folds, or add images"
        )


def _check_training(items: Items, pool: NDArray[np.int64], folds: Folds) -> None:
    for fold in folds:
        trained = np.setdiff1d(pool, fold)
        everywhere = np.all(items.has[trained], axis=0)
        if items.several and everywhere.any():
            raise DataError(
                "--cv-folds needs images without each label in at least two groups outside test, but those without "
                f"{items.class_names[int(everywhere.argmax())]} are in one: add some, leave the label out, or omit "
                "--cv-folds"
            )
        untrained = items.absent(trained)
        if untrained:
            raise DataError(
                f"--cv-folds needs every class in at least two groups outside test, so that each model trains on all "
                f"classes, but {', '.join(untrained)} has one: add images, or omit --cv-folds"
            )
