"""Audit of a data set before training: groups, duplicates, labels, and the score of pure memorisation.

With slices of one subject, or re-encoded, mirrored or rotated copies, a model can score by recognising images. The
audit finds such groups, reports how many test images have a group member in training, and scores a nearest neighbour
of raw pixels, which can only memorise.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.labels import label_sets, membership
from trainables.core.data.splits.groups import CurvePoint, Groups, exact_duplicates
from trainables.core.data.splits.nearest_neighbours import nearest_neighbours
from trainables.core.data.splits.pairs import Pair
from trainables.core.data.splits.splits import Items, make_splits
from trainables.core.errors import DataError
from trainables.core.plural import plural

AUDIT_VERSION = 5  # part of the cache key; raise it whenever the same images would be grouped differently
_PAIRS = 5000  # most pairs of one kind in an audit
_OUTLYING = 6.0  # robust standard deviations


@dataclass(frozen=True)
class Neighbour:
    """Scores of the nearest neighbour's label."""

    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True)
class Audit:
    """Findings that readers of any result must know.

    Attributes:
        images: Number of images.
        class_counts: Images by class. An image of several labels counts for each.
        groups_per_class: Groups that contain the class, by class.
        named: ``subjects`` if the groups were given, else ``groups``.
        groups: Number of groups.
        threshold: Similarity that joined them; None if they were given.
        largest_group: Images in the largest group.
        curve: Results of other thresholds.
        exact_duplicates: Images whose pixels equal those of an earlier one.
        contradicting_groups: Groups whose images have different labels.
        test_twins_in_train: Share of the published test images with a group member in training, or None.
        published: Nearest neighbour on the published test split, or None.
        grouped: Nearest neighbour with whole groups held out, or None.
        majority_share: Score of always predicting the commonest class, or set of labels.
        broken: Reason why an image cannot be used, by name.
        blank: Names of images without content.
        outlying: Names of images with unusual brightness or contrast.
        pairs: Pairs within groups by their worst property: ``labels differ``, ``test and train`` or ``alike``.
        apart: Similar pairs of different groups, if the groups were given.
        names: Names of the images in ``pairs`` and ``apart``, by index.
    """

    images: int
    class_counts: Mapping[str, int]
    groups_per_class: Mapping[str, int]
    named: str
    groups: int
    threshold: float | None
    largest_group: int
    curve: tuple[CurvePoint, ...]
    exact_duplicates: int
    contradicting_groups: int
    test_twins_in_train: float | None
    published: Neighbour | None
    grouped: Neighbour | None
    majority_share: float
    broken: Mapping[str, str]
    blank: tuple[str, ...]
    outlying: tuple[str, ...]
    pairs: Mapping[str, tuple[Pair, ...]]
    names: Mapping[int, str]
    apart: tuple[Pair, ...] = ()

    @property
    def labelled(self) -> bool:
        """True if whole images have classes. In a segmentation all images have one class."""
        return len(self.class_counts) > 1

    @property
    def leaks(self) -> bool:
        """True if groups of the published test split are also in training."""
        return bool(self.test_twins_in_train)

    def in_order(self, class_names: Sequence[str]) -> Self:
        """Return the audit with the classes listed in this order."""
        counts, groups = ({name: of[name] for name in class_names} for of in (self.class_counts, self.groups_per_class))
        return dataclasses.replace(self, class_counts=counts, groups_per_class=groups)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = dataclasses.asdict(self)
        plain["nearest_neighbour"] = {side: plain.pop(side) for side in ("published", "grouped")}
        return plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the result of ``to_dict``, also after JSON."""
        plain = dict(raw)
        sides = plain.pop("nearest_neighbour")
        return cls(
            **plain
            | {side: None if scores is None else Neighbour(**scores) for side, scores in sides.items()}
            | {"curve": tuple(CurvePoint(**point) for point in plain["curve"])}
            | {"pairs": {why: tuple(Pair(**pair) for pair in pairs) for why, pairs in plain["pairs"].items()}}
            | {"names": {int(index): name for index, name in plain["names"].items()}}
            | {name: tuple(plain[name]) for name in ("blank", "outlying")}
            | {"apart": tuple(Pair(**pair) for pair in plain.get("apart", ()))}
        )


def summary(audit: Audit) -> list[str]:
    """Return the two lines that readers of any result must know."""
    how = "as given" if audit.threshold is None else f"similarity >= {audit.threshold:g}"
    largest = plural(audit.largest_group, "image")
    lines = [f"audit: {audit.groups} {audit.named} ({how}), the largest with {largest}"]
    scores = {"the published test split": audit.published, f"held-out {audit.named}": audit.grouped}
    accuracies = [f"{score.accuracy:.3f} on {where}" for where, score in scores.items() if score]
    if accuracies:
        majority = f"the majority class scores {audit.majority_share:.3f}"
        lines.append(f"accuracy of a nearest neighbour of raw pixels: {', '.join(accuracies)}; {majority}")
    return lines


def describe_raised(audit: Audit) -> list[str]:
    """Return a note if the threshold was raised above the lowest one, because groups there are too large."""
    if audit.threshold is None or audit.threshold == audit.curve[0].threshold:
        return []
    lowest = audit.curve[0]
    return [
        f"images are grouped at a similarity of {audit.threshold:g}, because one group would have "
        f"{lowest.largest / audit.images:.0%} of them at {lowest.threshold:g}; one patient may be in several splits: "
        f"name the patients with --group-pattern or --groups, or pass --group-threshold {lowest.threshold:g}"
    ]


def audit_images(
    items: Items,
    found: Groups,
    groups_given: bool,
    pixels: NDArray[np.uint8],
    names: Sequence[str],
    broken: Mapping[int, str],
    blank: Collection[int],
) -> Audit:
    """Audit a data set whose groups are known.

    Args:
        items: Labels, the groups in use, and published splits.
        found: Groups by similarity.
        groups_given: True if the groups in use were given instead.
        pixels: (N, SIDE, SIDE, channels) uint8.
        names: Names of the images.
        broken: Reason why an image cannot be used, by index.
        blank: Indices of images that show nothing.
    """
    usable = np.setdiff1d(np.arange(len(items.labels)), np.array(sorted(broken), dtype=np.int64))
    compared = np.setdiff1d(usable, np.array(sorted(blank), dtype=np.int64))
    groups, sets = items.groups[usable], label_sets(items.labels)
    combinations = np.unique(np.stack([groups, sets[usable]]), axis=1)
    has = membership(items.labels[usable], len(items.class_names))
    train, test = (usable[np.isin(items.published[usable], sides)] for sides in (("train", "val", ""), ("test",)))
    divided = len(train) > 0 and len(test) > 0
    # Mirrored and rotated pairs come first, since they are hard to spot.
    ordered = sorted(found.pairs, key=lambda pair: (not pair.mirrored, -abs(pair.degrees), -pair.similarity))
    together = [pair for pair in ordered if items.groups[pair.first] == items.groups[pair.second]]
    apart = tuple(pair for pair in ordered if items.groups[pair.first] != items.groups[pair.second])[:_PAIRS]
    pairs, classified = _pairs_by_kind(together, items), len(items.class_names) > 1
    paired = {index for shown in (*pairs.values(), apart) for pair in shown for index in (pair.first, pair.second)}
    return Audit(
        images=len(items.labels),
        class_counts=dict(zip(items.class_names, has.sum(axis=0).tolist(), strict=True)),
        groups_per_class={
            name: len(np.unique(groups[column])) for name, column in zip(items.class_names, has.T, strict=True)
        },
        named="subjects" if groups_given else "groups",
        groups=len(np.unique(groups)),
        threshold=None if groups_given else found.threshold,
        largest_group=int(np.unique(groups, return_counts=True)[1].max(initial=0)),
        curve=found.curve,
        exact_duplicates=len(compared) - len(np.unique(exact_duplicates(pixels, compared)[compared])),
        contradicting_groups=int((np.unique(combinations[0], return_counts=True)[1] > 1).sum()),
        test_twins_in_train=float(np.isin(items.groups[test], items.groups[train]).mean()) if divided else None,
        published=_neighbour(pixels, sets, test, train) if divided and classified else None,
        grouped=_held_out(items, usable, pixels) if classified else None,
        majority_share=float(np.bincount(sets[usable]).max(initial=0) / max(1, len(usable))),
        broken={names[index]: reason for index, reason in broken.items()},
        blank=tuple(names[index] for index in sorted(blank)),
        outlying=tuple(names[index] for index in _outlying_images(pixels, compared)),
        pairs=pairs,
        apart=apart,
        names={index: names[index] for index in sorted(paired)},
    )


def _neighbour(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], queries: NDArray[np.int64], gallery: NDArray[np.int64]
) -> Neighbour:
    predicted = labels[nearest_neighbours(pixels, queries, gallery)[0]]
    right = predicted == labels[queries]
    recalls = [right[labels[queries] == index].mean() for index in np.unique(labels[queries])]
    return Neighbour(float(right.mean()), float(np.mean(recalls)))


def _held_out(items: Items, usable: NDArray[np.int64], pixels: NDArray[np.uint8]) -> Neighbour | None:
    """Return the nearest neighbour's score on a test split of whole groups; None with too few groups."""
    unpublished = dataclasses.replace(items, published=np.full(len(items.labels), ""))
    try:
        splits = make_splits(unpublished, usable, seed=0)
    except DataError:
        return None
    return _neighbour(pixels, label_sets(items.labels), splits["test"], np.setdiff1d(usable, splits["test"]))


def _pairs_by_kind(pairs: Sequence[Pair], items: Items) -> dict[str, tuple[Pair, ...]]:
    """Return the pairs by their worst property, in the same order."""
    sets = label_sets(items.labels)
    kinds: dict[str, list[Pair]] = {"labels differ": [], "test and train": [], "alike": []}
    for pair in pairs:
        in_test = items.published[[pair.first, pair.second]] == "test"
        if sets[pair.first] != sets[pair.second]:
            kinds["labels differ"].append(pair)
        elif in_test.any() and not in_test.all():
            kinds["test and train"].append(pair)
        else:
            kinds["alike"].append(pair)
    return {why: tuple(of_kind[:_PAIRS]) for why, of_kind in kinds.items()}


def _outlying_images(pixels: NDArray[np.uint8], compared: NDArray[np.int64]) -> list[int]:
    """Return the images whose brightness or contrast is far from the rest."""
    figures = np.array([(float(image.mean()), float(image.std())) for image in pixels[compared]]).reshape(-1, 2)
    centre = np.median(figures, axis=0) if len(figures) else 0
    spread = 1.4826 * np.median(np.abs(figures - centre), axis=0) if len(figures) else 1
    far = (np.abs(figures - centre) > _OUTLYING * np.maximum(spread, 1)).any(axis=1)
    return [int(index) for index in compared[far]]
