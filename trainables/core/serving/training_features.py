"""Features of training images, and how far from them the features of another image are.

Distances are those to the k-th nearest neighbour: among features of unit length (Sun et al. 2022, "Out-of-distribution
detection with deep nearest neighbors"), and among the features themselves. An image counts by the larger of the two,
because either may miss what the other finds.
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
_LEAST_LENGTH = 1e-12

Members = Sequence[NDArray[np.float32]]  # (n, F) features by each of M members


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Features of training images, and the largest usual distances from them.

    Attributes:
        features: (N, D) float16 rows of unit length, as ``joined`` makes them.
        lengths: (N, M) float32 lengths of each member's features, in multiples of ``units``.
        units: (M,) float32 mean length of each member's features.
        limits: (2,) distances among features of unit length and among features. At least one of them is exceeded by
            only 1% of new images of the same kind.
        independent: (N,) True for one image of each group; None in models that were registered by earlier versions.
    """

    features: NDArray[np.float16]
    lengths: NDArray[np.float32]
    units: NDArray[np.float32]
    limits: NDArray[np.float64]
    independent: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        training: Members,
        held_out: Members,
        groups: NDArray[np.int64],
        independent: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Set the limits to the 99th percentile of the distances of held-out images.

        Args:
            training: Features of N training images.
            held_out: Features of n images of other groups, which no model was trained on.
            groups: (n,) their groups. Each group has the same weight, whatever its number of images. With fewer than
                100 groups, the limits are those of the farthest image.
            independent: (N,) True for one training image of each group; None if unknown.
        """
        lengths = np.stack([np.linalg.norm(each, axis=1) for each in training], axis=1)
        units = np.maximum(lengths.mean(axis=0), _LEAST_LENGTH)
        known = cls(joined(training).astype(np.float16), lengths / units, units, np.ones(2))
        distances = known._distances(held_out)
        limits = np.array([max(_quantile(each, groups), _LEAST_LIMIT) for each in distances])
        larger = (distances / limits[:, None]).max(axis=0)
        return cls(known.features, known.lengths, units, limits * max(_quantile(larger, groups), 1.0), independent)

    def scores(self, members: Members) -> NDArray[np.float64]:
        """Return (n,) distances, divided by their limit, of n images: above 1 is unlike training images."""
        scores: NDArray[np.float64] = (self._distances(members) / self.limits[:, None]).max(axis=0)
        return scores

    def _distances(self, members: Members) -> NDArray[np.float64]:
        """Return (2, n) distances of n images, among features of unit length and among features."""
        widths = [each.shape[1] for each in members]
        reference = self.features.astype(np.float32)
        scaled = [each / unit for each, unit in zip(members, self.units, strict=True)]
        own = (np.concatenate(scaled, axis=1) / np.sqrt(len(members))).astype(np.float32)
        return np.stack(
            [
                _to_nearest(joined(members), reference),
                _to_nearest(own, reference * np.repeat(self.lengths, widths, axis=1)),
            ]
        )

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        safetensors.numpy.save_file(known, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the file that ``save`` wrote."""
        return cls(**safetensors.numpy.load_file(file))


def joined(members: Members) -> NDArray[np.float32]:
    """Join the features of members to (n, D) rows of unit length, in which all members have equal shares."""
    units = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), _LEAST_LENGTH) for each in members]
    rows: NDArray[np.float32] = (np.concatenate(units, axis=1) / np.sqrt(len(units))).astype(np.float32)
    return rows


def _quantile(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Return the 99th percentile of (n,) values, in which each group has the same weight."""
    weights = 1 / np.bincount(groups)[groups]
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(shares, _QUANTILE)), len(order) - 1)])


def _to_nearest(features: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (n,) distance of each row of (n, D) features to its k-th nearest row of the reference."""
    neighbour = min(_NEIGHBOUR, len(reference)) - 1
    lengths, of_reference = ((rows.astype(np.float64) ** 2).sum(axis=1) for rows in (features, reference))
    squares = lengths[:, None] + of_reference - 2.0 * (features @ reference.T)
    nearest = np.partition(squares, neighbour, axis=1)[:, neighbour]
    distances: NDArray[np.float64] = np.sqrt(np.maximum(nearest, 0))
    return distances
