"""Share of a heat map's heat at the border and in the corners of images, where markers and letters are."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 100  # pixels to which maps are resized, as the eye sees them
_BORDER, _CORNER = 10, 20  # pixels
BORDER_AREA = 1 - (1 - 2 * _BORDER / _SIDE) ** 2
CORNER_AREA = 4 * (_CORNER / _SIDE) ** 2
_CONSPICUOUS = 1.5  # times the share of the area
_FEWEST_CELLS = _SIDE // _CORNER  # a cell must not be larger than a corner


@dataclass(frozen=True)
class HeatLocation:
    """Location of the heat of one or several maps.

    Attributes:
        border: Share in the outer tenth at each side, which is ``BORDER_AREA`` of the image.
        corners: Share in the four corners, squares of a fifth of each side, ``CORNER_AREA`` of the image.
    """

    border: float
    corners: float

    @classmethod
    def of(cls, maps: NDArray[np.float32]) -> Self | None:
        """Measure (m, h, w) maps in [0, 1], each with the same weight; None if all are without heat."""
        shares = [resized / resized.sum() for resized in map(_resized, maps) if resized.any()]
        if not shares:
            return None
        mean = np.mean(shares, axis=0)
        inner, edge = slice(_BORDER, -_BORDER), np.r_[:_CORNER, _SIDE - _CORNER : _SIDE]
        return cls(float(1 - mean[inner, inner].sum()), float(mean[np.ix_(edge, edge)].sum()))

    @property
    def conspicuous(self) -> bool:
        """True if border or corners hold much more heat than their area would."""
        return self.border > _CONSPICUOUS * BORDER_AREA or self.corners > _CONSPICUOUS * CORNER_AREA

    def describe(self) -> str:
        """Return a sentence, with a warning if the location is conspicuous."""
        measured = (
            f"{self.border:.0%} of the heat lies in the outer tenth at each side ({BORDER_AREA:.0%} of the area) and "
            f"{self.corners:.0%} in the corners ({CORNER_AREA:.0%} of the area)."
        )
        if not self.conspicuous:
            return measured
        return f"{measured} That is much: look for markers, letters or edges that give the label away."


def is_coarse(maps: NDArray[np.float32]) -> bool:
    """Return True if the cells of (..., h, w) maps are larger than a corner."""
    return bool(min(maps.shape[-2:]) < _FEWEST_CELLS)


def describe_location(maps: NDArray[np.float32]) -> str:
    """Say where the heat of (m, h, w) maps lies, or that they are too coarse for that; "" for maps without heat."""
    if is_coarse(maps):
        cells = " x ".join(map(str, maps.shape[1:]))
        return (
            f"Maps of {cells} cells are too coarse to tell whether the heat lies at borders and in corners, where "
            "markers and letters are. Larger images give finer maps."
        )
    location = HeatLocation.of(maps)
    return location.describe() if location else ""


def _resized(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    image = Image.fromarray(heat.astype(np.float32)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(image, dtype=np.float64), 0, 1)
