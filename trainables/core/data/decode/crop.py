"""Where in its image a segmentation sees what matters: a box to which the image is cut before anything else sees it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A region of a smaller share of the image is taken for a failure; on each side the box is wider than the region by this
# share of the region's own width or height.
LEAST_SHARE, MARGIN = 0.02, 0.05
# A piece of a smaller share of the region's pixels is a speck, which would stretch the box.
_LEAST_PIECE = 0.01
# Part of every key: raise it whenever the same mask would become another box.
REGION_VERSION = 2
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
        """How many of these images are taken whole, because no region was seen, a tiny one, or one that fills them."""
        return int((self.boxes[indices, 2] == 0).sum())


def box_of(mask: NDArray[np.uint8]) -> Box | None:
    """The box around all that is not background in an (H, W) mask but specks, with a margin of 5% on each side.

    Returns:
        Left, top, right and bottom in pixels; None for less than 2% of the image, and where the box is all of it.
    """
    region = _without_specks(mask != 0)
    if np.count_nonzero(region) < LEAST_SHARE * mask.size:
        return None
    (top, bottom), (left, right) = (np.flatnonzero(region.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
    rows, columns = round(MARGIN * (bottom + 1 - top)), round(MARGIN * (right + 1 - left))
    height, width = mask.shape
    box = max(0, left - columns), max(0, top - rows), min(width, right + 1 + columns), min(height, bottom + 1 + rows)
    return None if box == (0, 0, width, height) else box


def _without_specks(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected pieces of a region that hold at least 1% of its pixels."""
    pieces, _ = ndimage.label(region)
    sizes = np.bincount(pieces.ravel())
    large = sizes >= _LEAST_PIECE * np.count_nonzero(region)
    large[0] = False  # the background
    kept: NDArray[np.bool_] = large[pieces]
    return kept
