"""Images of the data set as a report shows them: within the page, small, and beside what is to be compared."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 160
# Of Paul Tol's "bright" scheme, which the colour-blind can tell apart.
_RIGHT, _MISSED, _WRONG = (34, 136, 51), (68, 119, 170), (238, 102, 119)
_TINT = 0.55
_HEAT = 0.65  # of a heat map's colour where it is strongest


def inline(pixels: NDArray[np.uint8], side: int = _SIDE) -> str:
    """(S, S, 1 or 3) uint8 as the address of a JPEG that lies within the page, for ``src``."""
    image = _picture(pixels).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heated(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image under its heat map.

    Args:
        pixels: (S, S, 1 or 3) uint8.
        heat: (h, w) in [0, 1]; spread over the image by bilinear interpolation.

    Returns:
        (S, S, 3) uint8: red to yellow where the map is strong, the image where it is 0.
    """
    size = pixels.shape[1], pixels.shape[0]
    spread = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    strength = np.clip(spread, 0, 1)[:, :, None]
    colours = np.concatenate([np.full_like(strength, 255), 220 * strength, np.zeros_like(strength)], axis=2)
    mixed = pixels * (1 - _HEAT * strength) + colours * _HEAT * strength
    return np.asarray(np.clip(mixed, 0, 255).round(), dtype=np.uint8)


def outlined(pixels: NDArray[np.uint8], truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image with its masks compared.

    Args:
        pixels: (S, S, 1 or 3) uint8.
        truth: (S, S) classes, 0 the background.
        found: (S, S) classes that a model gives.

    Returns:
        (S, S, 3) uint8: green where a class is rightly found, blue where it is missed, red where it is wrongly found
        (so also where one class is taken for another).
    """
    kinds = {_RIGHT: (truth == found) & (truth > 0), _MISSED: (found == 0) & (truth > 0)}
    kinds[_WRONG] = (truth != found) & (found > 0)
    mixed = np.repeat(pixels, 3 // pixels.shape[2], axis=2).astype(np.float32)
    for colour, where in kinds.items():
        mixed[where] = (1 - _TINT) * mixed[where] + _TINT * np.array(colour, dtype=np.float32)
    return mixed.round().astype(np.uint8)


def aligned(pixels: NDArray[np.uint8], degrees: float, mirrored: bool) -> NDArray[np.uint8]:
    """The second image of a pair as it lies best over the first (``similarity.registration``), same shape."""
    image = _picture(pixels[::-1] if mirrored else pixels)  # mirrored about the axis at angle 0, which runs across
    turned = np.asarray(image.rotate(-degrees, Image.Resampling.BILINEAR))  # Pillow turns the other way round
    return turned.reshape(pixels.shape)


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
