"""Where in its image a segmentation sees what matters: a box to which the image is cut before anything else sees it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A region of a smaller share of the image is taken for a failure; the box is wider than the region by this share of it.
LEAST_SHARE, MARGIN = 0.02, 0.05
# Part of every key: raise it whenever the same mask would become another box.
REGION_VERSION = 1
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Regions:
    """The boxes of a data set's images.

    Attributes:
        model: The folder of the segmentation that saw them, where the data was prepared.
        digest: SHA-256 of its files.
        boxes: (N, 4) int32: left, top, right and bottom in pixels; zeros where the whole image is taken.
    """

    model: Path
    digest: str
    boxes: NDArray[np.int32]

    def box(self, index: int) -> Box | None:
        """Of one image; None where the whole image is taken."""
        left, top, right, bottom = self.boxes[index].tolist()
        return (left, top, right, bottom) if right else None

    def whole(self, indices: NDArray[np.int64]) -> int:
        """How many of these images are taken whole, because no region was seen, or a tiny one."""
        return int((self.boxes[indices, 2] == 0).sum())


def box_of(mask: NDArray[np.uint8]) -> Box | None:
    """The box around all that is not background in an (H, W) mask, and a margin; None for less than 2% of the image."""
    if np.count_nonzero(mask) < LEAST_SHARE * mask.size:
        return None
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
    rows, columns = round(MARGIN * (bottom + 1 - top)), round(MARGIN * (right + 1 - left))
    height, width = mask.shape
    return max(0, left - columns), max(0, top - rows), min(width, right + 1 + columns), min(height, bottom + 1 + rows)
