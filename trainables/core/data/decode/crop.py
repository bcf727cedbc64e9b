"""Crop boxes from segmentation masks: images are cropped before anything else sees them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A region below this share of the image counts as a failed segmentation. The margin on each side is this share of the
# region's width or height.
LEAST_SHARE, MARGIN = 0.02, 0.05
# Pieces below this share of the region's pixels are specks, which would stretch the box.
_LEAST_PIECE = 0.01
# Part of every cache key. Raise it whenever the same mask would give another box.
REGION_VERSION = 2
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Regions:
    """Crop boxes of a data set's images.

    Attributes:
        model: Folder of the segmentation model, on the machine where the data were prepared.
        digest: SHA-256 of its files.
        boxes: (N, 4) int32: left, top, right and bottom in pixels; zeros for images that are not cropped.
    """

    model: Path
    digest: str
    boxes: NDArray[np.int32]

    def box(self, index: int) -> Box | None:
        """Return the box of one image; None if it is not cropped."""
        left, top, right, bottom = self.boxes[index].tolist()
        return (left, top, right, bottom) if right else None

    def count_uncropped(self, indices: NDArray[np.int64]) -> int:
        """Return how many of these images are not cropped: their region is missing, tiny, or fills the image."""
        return int((self.boxes[indices, 2] == 0).sum())


def box_of(mask: NDArray[np.uint8]) -> Box | None:
    """Return the box around everything in an (H, W) mask except background and specks, with a 5% margin on each side.

    Returns:
        Left, top, right and bottom in pixels; None if the region is below 2% of the image or the box is all of it.
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
    """Return the connected pieces of a region that have at least 1% of its pixels."""
    from scipy import ndimage  # not among the requirements of a model that neither segments nor crops

    pieces, _ = ndimage.label(region)
    sizes = np.bincount(pieces.ravel())
    large = sizes >= _LEAST_PIECE * np.count_nonzero(region)
    large[0] = False  # the background
    in_large_piece: NDArray[np.bool_] = large[pieces]
    return in_large_piece
