"""Features of training images, and how far from them the features of another image are.

The distance is that to the k-th nearest neighbour among features of unit length (Sun et al. 2022, "Out-of-distribution
detection with deep nearest neighbors"). It needs no assumption on how features are distributed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

MOST_IMAGES = 1000
_NEIGHBOUR = 5
_QUANTILE = 0.99
_LEAST_LIMIT = 1e-3  # distances of equal features differ by rounding


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Features of training images, and the largest usual distance from them.

    Attributes:
        features: (N, D) float16 rows of unit length, as ``joined`` makes them.
        limit: Distance that only 1% of new images of the same kind exceed.
    """

    features: NDArray[np.float16]
    limit: float

    @classmethod
    def of(cls, training: NDArray[np.float32], held_out: NDArray[np.float32], groups: NDArray[np.int64]) -> Self:
        """Set the limit to the 99th percentile of the distances of held-out images.

        Args:
            training: (N, D) features of training images.
            held_out: (n, D) features of images of other groups, which no model was trained on.
            groups: (n,) their groups. Each group has the same weight, whatever its number of images. With fewer than
                100 groups, the limit is the largest distance of an image of such weight.
        """
        stored = training.astype(np.float16)
        distances = _distances(held_out, stored)
        weights = 1 / np.bincount(groups)[groups]
        order = np.argsort(distances)
        shares = np.cumsum(weights[order]) / weights.sum()
        limit = distances[order][min(int(np.searchsorted(shares, _QUANTILE)), len(order) - 1)]
        return cls(stored, max(float(limit), _LEAST_LIMIT))

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the (n,) distances of (n, D) features, divided by the limit: above 1 is unlike training images."""
        return _distances(features, self.features) / self.limit

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        safetensors.numpy.save_file({"features": self.features, "limit": np.array([self.limit])}, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the file that ``save`` wrote."""
        stored = safetensors.numpy.load_file(file)
        return cls(stored["features"], float(stored["limit"][0]))


def joined(features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Join the (n, F) features of M members to (n, D) rows of unit length, in which all members have equal shares."""
    units = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in features]
    rows: NDArray[np.float32] = (np.concatenate(units, axis=1) / np.sqrt(len(units))).astype(np.float32)
    return rows


def _distances(features: NDArray[np.float32], training: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return the (n,) distance of each row of (n, D) features to its k-th nearest training image."""
    neighbour = min(_NEIGHBOUR, len(training)) - 1
    reference = training.astype(np.float32)
    lengths = (reference.astype(np.float64) ** 2).sum(axis=1)
    squares = (features.astype(np.float64) ** 2).sum(axis=1)[:, None] + lengths - 2.0 * (features @ reference.T)
    nearest = np.partition(squares, neighbour, axis=1)[:, neighbour]
    distances: NDArray[np.float64] = np.sqrt(np.maximum(nearest, 0))
    return distances
