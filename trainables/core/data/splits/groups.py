"""Groups: images that must not be split, because they are slices of one subject or copies of one image."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trainables.core.data.splits.similarity import (
    Spectra,
    chance_level,
    nearest_neighbours,
    polar_spectra,
    registration,
    similarity_forest,
)
from trainables.core.device import resolve_device
from trainables.core.errors import DataError

LARGEST_SHARE = 0.05  # of the images, that a group may have
_HIGHEST, _STEPS = 0.99, 18
# Similarities of unrelated images end below it on every set that was looked at (see similarity.py); where chance lies
# far lower, as for tissue, so does the floor: copies of it that were cropped as well are less alike.
_FLOOR, _BEYOND_CHANCE = 0.90, 8
_SAMPLE = 5000  # images of which the nearest neighbour is looked up


@dataclass(frozen=True)
class Grouping:
    """Which images belong together, said outright: by a column, by file names, or by how alike they are.

    Attributes:
        threshold: Similarity that joins two images, in (0, 1).
        column: Of parquet and hub data sets.
        pattern: A regular expression, see ``open_source``.
        usual_pattern: One that is tried where none of the others is given, and holds if every file's name has it.
    """

    threshold: float | None = None
    column: str | None = None
    pattern: str | None = None
    usual_pattern: str | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise DataError(f"--group-threshold must be a similarity between 0 and 1, but got {self.threshold:g}")
        if sum(value is not None for value in (self.threshold, self.column, self.pattern)) > 1:
            raise DataError(
                "groups are told by one of --group-threshold, --group-column and --group-pattern, not by more"
            )


@dataclass(frozen=True)
class CurvePoint:
    """What a threshold would make of a data set.

    Attributes:
        threshold: Similarity that joins two images.
        groups: How many there are.
        largest: Images in the largest.
        neighbour_accuracy: Of the nearest neighbour outside an image's own group.
    """

    threshold: float
    groups: int
    largest: int
    neighbour_accuracy: float


@dataclass(frozen=True)
class Pair:
    """Two images that are alike.

    Attributes:
        first, second: Indices.
        similarity: In [0, 1], as they lie best.
        degrees: By how much the second is the first rotated counter-clockwise.
        mirrored: Whether it is mirrored, too.
    """

    first: int
    second: int
    similarity: float
    degrees: float
    mirrored: bool


@dataclass(frozen=True)
class Groups:
    """Which images belong together, by how alike they are.

    Attributes:
        groups: (N,) int64.
        threshold: Similarity that joined them.
        curve: What other thresholds would give.
        pairs: Those that hold the groups together, as they lie.
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
    progress: Callable[[float], None] | None = None,
) -> Groups:
    """Groups images that are alike, at the lowest threshold at which no group exceeds 5% of the images.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        usable: Indices of the images that are looked at; any other is a group of its own.
        labels: (N,) int64; -1 where there is none.
        threshold: Said outright by the user, in (0, 1); None chooses it from the data.
        progress: Told the share that is done.
    """
    spectra = polar_spectra(pixels)
    spectra[np.setdiff1d(np.arange(len(pixels)), usable)] = 0
    chance, spread = chance_level(spectra[usable], np.random.default_rng(0))
    grid = np.round(np.linspace(min(_FLOOR, chance + _BEYOND_CHANCE * spread), _HIGHEST, _STEPS + 1), 3)
    grid = grid if threshold is None else np.unique([threshold, *grid])
    forest = similarity_forest(spectra, float(grid[0]), resolve_device("auto"), progress)
    groupings = np.stack([forest.components(similarity) for similarity in grid])
    largest = np.array([np.bincount(groups[usable]).max(initial=0) for groups in groupings])
    queries = usable[np.sort(np.random.default_rng(0).permutation(len(usable))[:_SAMPLE])]
    neighbours = nearest_neighbours(pixels, queries, usable, groupings)
    right = (labels[neighbours] == labels[queries]) & (neighbours >= 0)
    curve = tuple(
        CurvePoint(float(similarity), len(np.unique(groups[usable])), int(size), float(accuracy))
        for similarity, groups, size, accuracy in zip(grid, groupings, largest, right.mean(axis=1), strict=True)
    )
    allowed = largest <= max(2, LARGEST_SHARE * len(usable))
    chosen = int(np.argmax(grid == threshold if threshold is not None else np.append(allowed[:-1], True)))
    joins = forest.similarity >= grid[chosen]
    pairs = _pairs(spectra, forest.first[joins], forest.second[joins])
    return Groups(groupings[chosen], float(grid[chosen]), curve, pairs)


def joined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) numbers of the images that chains of either grouping hold together."""
    _, first = np.unique(one, return_inverse=True)
    _, second = np.unique(other, return_inverse=True)
    # The groups of both are the nodes of a graph, an image is an edge.
    size = len(first) + len(second)
    edges = coo_array((np.ones(len(first)), (first, second + len(first))), shape=(size, size))
    return np.asarray(connected_components(edges, directed=False)[1][first], dtype=np.int64)


def exact_duplicates(pixels: NDArray[np.uint8], usable: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) numbers that usable images of equal pixels share and no others do."""
    seen: dict[bytes, int] = {}
    numbers = np.arange(len(pixels))
    for index in usable.tolist():
        numbers[index] = seen.setdefault(hashlib.sha256(pixels[index].tobytes()).digest(), index)
    return numbers


def _pairs(spectra: Spectra, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[Pair, ...]:
    """The joined pairs as they lie to each other."""
    pairs = []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        similarity, degrees, mirrored = registration(spectra[one], spectra[other])
        pairs.append(Pair(one, other, similarity, degrees, mirrored))
    return tuple(pairs)
