"""Groups: images that must stay together, because they are slices of one subject or copies of one image."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainables.core.data.splits.copies import SAME
from trainables.core.data.splits.nearest_neighbours import nearest_neighbours
from trainables.core.data.splits.pairs import Pair
from trainables.core.errors import DataError

if TYPE_CHECKING:
    from trainables.core.data.splits.similarity import Spectra

LARGEST_SHARE = 0.05  # share of the images up to which any group is accepted
# Larger groups are accepted if most of their images stay together at the thresholds that follow, as slices of one
# patient do. Of 5,120 brain MRI slices, chains of patients keep 11% or less of their images after two steps.
_LARGEST_STABLE, _STABLE_SHARE, _STABLE_STEPS = 0.5, 0.8, 4
_HIGHEST, _STEPS = 0.99, 18
# Unrelated images stayed below this similarity on every data set we examined (see similarity.py). If chance is far
# lower, as for tissue, the floor is lower too: its copies were also cropped and are less alike.
_FLOOR, _BEYOND_CHANCE = 0.90, 8
# Thresholds of the similarity of copies. They are only raised if copies form a group of most images, such as a video.
_COPY_THRESHOLDS = (SAME, 0.95, 0.98)
_SAMPLE = 5000  # images whose nearest neighbour is looked up


@dataclass(frozen=True)
class Grouping:
    """The user's statement about which images belong together: by a column, file names, a file, or similarity.

    Attributes:
        threshold: Similarity in (0, 1) that joins two images.
        column: Column of parquet and hub data sets.
        pattern: Regular expression, see ``open_source``.
        usual_pattern: Pattern that applies if the user sets no other rule and every file name matches it.
        file: File with the group of each image, see ``grouped_by_file``.
        older: True for searches that older versions began. They ignored the columns of parquet files if several could
            be the group, instead of refusing them. Each image without a known patient was a group of its own if any
            patient was known, or if files held several images; now similar ones are joined.
    """

    threshold: float | None = None
    column: str | None = None
    pattern: str | None = None
    usual_pattern: str | None = None
    file: str | None = None
    older: bool = False

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Rebuild from ``dataclasses.asdict``, perhaps of an older version."""
        return cls(**{"older": True, **saved})

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise DataError(f"--group-threshold must be a similarity between 0 and 1, but got {self.threshold:g}")
        if sum(value is not None for value in (self.threshold, self.column, self.pattern, self.file)) > 1:
            raise DataError("give only one of --group-threshold, --group-column, --group-pattern and --groups")


@dataclass(frozen=True)
class CurvePoint:
    """Result of one threshold.

    Attributes:
        threshold: Similarity that joins two images.
        groups: Number of groups.
        largest: Images in the largest group.
        neighbour_accuracy: Accuracy of the nearest neighbour outside an image's own group.
    """

    threshold: float
    groups: int
    largest: int
    neighbour_accuracy: float


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups found by similarity.

    Attributes:
        groups: (N,) int64.
        threshold: Similarity that joined them.
        curve: Results of other thresholds.
        pairs: Pairs that hold the groups together, with their alignment.
    """

    groups: NDArray[np.int64]
    threshold: float
    curve: tuple[CurvePoint, ...]
    pairs: tuple[Pair, ...]


def group_by_similarity(
    pixels: NDArray[np.uint8],
    usable: NDArray[np.int64],
    labels: NDArray[np.int64],
    threshold: float | None = None,
    copies: Sequence[Pair] = (),
    progress: Callable[[float], None] | None = None,
) -> Groups:
    """Group copies and similar images at the lowest threshold at which no group is too large, see ``_allowed``.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        usable: Indices of the images to compare. Any other image is its own group.
        labels: (N,) int64; -1 for an image without a label.
        threshold: Threshold in (0, 1) given by the user; None chooses it from the data.
        copies: Result of ``find_copies``. They share a group at any threshold.
        progress: Called with the share that is done.
    """
    # These import torch, which takes seconds, and data are described before it is needed.
    from trainables.core.data.splits.similarity import chance_level, polar_spectra, similarity_forest

    spectra = polar_spectra(pixels)
    spectra[np.setdiff1d(np.arange(len(pixels)), usable)] = 0
    chance, spread = chance_level(spectra[usable], np.random.default_rng(0))
    grid = np.round(np.linspace(min(_FLOOR, chance + _BEYOND_CHANCE * spread), _HIGHEST, _STEPS + 1), 3)
    grid = grid if threshold is None else np.unique([threshold, *grid])
    forest = similarity_forest(spectra, float(grid[0]), progress)
    copies = _certain(copies, len(pixels), max(2, int(_LARGEST_STABLE * len(usable))))
    of_copies = _components(copies, len(pixels))
    groupings = np.stack([joined(forest.components(similarity), of_copies) for similarity in grid])
    largest = np.array([np.bincount(groups[usable]).max(initial=0) for groups in groupings])
    queries = usable[np.sort(np.random.default_rng(0).permutation(len(usable))[:_SAMPLE])]
    neighbours = nearest_neighbours(pixels, queries, usable, groupings)
    right = (labels[neighbours] == labels[queries]) & (neighbours >= 0)
    accuracies = right.sum(axis=1) / max(1, len(queries))
    curve = tuple(
        CurvePoint(float(similarity), len(np.unique(groups[usable])), int(size), float(accuracy))
        for similarity, groups, size, accuracy in zip(grid, groupings, largest, accuracies, strict=True)
    )
    allowed = _allowed(groupings[:, usable], of_copies[usable])
    chosen = int(np.argmax(grid == threshold if threshold is not None else [*allowed[:-1], True]))
    joins = forest.similarity >= grid[chosen]
    pairs: dict[tuple[int, int], Pair] = {}
    for pair in sorted(
        [*copies, *_pairs(spectra, forest.first[joins], forest.second[joins])], key=lambda pair: pair.similarity
    ):
        pairs[pair.first, pair.second] = pair  # the better of two alignments
    return Groups(groupings[chosen], float(grid[chosen]), curve, tuple(pairs.values()))


def _allowed(groupings: NDArray[np.int64], of_copies: NDArray[np.int64]) -> list[bool]:
    """Return whether each grouping has no group that is too large. All copies of one image count as one.

    A group may have 5% of the images. It may have half of them if it is stable: 80% of it are still together four
    thresholds later. Slices of one patient are. A chain of similar patients breaks.

    Args:
        groupings: (T, N) groupings by rising thresholds.
        of_copies: (N,) groups of copies.
    """
    count = len(np.unique(of_copies))
    allowed = []
    for groups, later in zip(
        groupings, [*groupings[_STABLE_STEPS:], *groupings[-1:].repeat(_STABLE_STEPS, 0)], strict=True
    ):
        sizes = _originals(groups, of_copies)
        large = np.flatnonzero(sizes > max(2, LARGEST_SHARE * count))
        still = [_originals(later[groups == group], of_copies[groups == group]).max() for group in large]
        stable = (sizes[large] <= _LARGEST_STABLE * count) & (np.array(still) >= _STABLE_SHARE * sizes[large])
        allowed.append(bool(stable.all()))
    return allowed


def _originals(groups: NDArray[np.int64], of_copies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of images in each group, by its number. Copies of one image count as one."""
    return np.bincount(np.unique(np.stack([groups, of_copies]), axis=1)[0])


def joined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) group numbers in which images are together if a chain of either grouping connects them."""
    _, first = np.unique(one, return_inverse=True)
    _, second = np.unique(other, return_inverse=True)
    # Graph with the groups of both as nodes and the images as edges.
    size = len(first) + len(second)
    edges = coo_array((np.ones(len(first)), (first, second + len(first))), shape=(size, size))
    return np.asarray(connected_components(edges, directed=False)[1][first], dtype=np.int64)


def exact_duplicates(pixels: NDArray[np.uint8], usable: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) numbers that only usable images with equal pixels share."""
    first_index: dict[bytes, int] = {}
    numbers = np.arange(len(pixels))
    for index in usable.tolist():
        numbers[index] = first_index.setdefault(hashlib.sha256(pixels[index].tobytes()).digest(), index)
    return numbers


def _certain(copies: Sequence[Pair], size: int, most: int) -> Sequence[Pair]:
    """Return the copies above the lowest threshold at which they form no group of more than ``most`` images."""
    for threshold in _COPY_THRESHOLDS:
        copies = [pair for pair in copies if pair.similarity >= threshold]
        if np.bincount(_components(copies, size)).max(initial=0) <= most:
            break
    return copies


def _components(pairs: Sequence[Pair], size: int) -> NDArray[np.int64]:
    """Return (N,) groups of images connected by chains of pairs."""
    ends = ([pair.first for pair in pairs], [pair.second for pair in pairs])
    edges = coo_array((np.ones(len(pairs)), ends), shape=(size, size))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def _pairs(spectra: "Spectra", first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[Pair, ...]:
    """Return the joined pairs with their alignment."""
    from trainables.core.data.splits.similarity import registration

    pairs = []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        similarity, degrees, mirrored = registration(spectra[one], spectra[other])
        pairs.append(Pair(one, other, similarity, degrees, mirrored))
    return tuple(pairs)
