"""Small images for a report: inline JPEGs, heat maps, mask comparisons, aligned pairs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 160
# Paul Tol's "bright" colour scheme, which is safe for colour-blind readers.
_FOUND, _MISSED, _WRONG = (34, 136, 51), (68, 119, 170), (238, 102, 119)
_MASK_OPACITY = 0.55
_HEAT_OPACITY = 0.65  # where the heat map is 1


def data_uri(pixels: NDArray[np.uint8], side: int = _SIDE) -> str:
    """Encode (S, S, 1 or 3) uint8 pixels as a JPEG in a ``data:`` URI, resized to ``side`` pixels."""
    image = _pillow_image(pixels).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def with_heat_map(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a heat map over an image.

    Args:
        pixels: (S, S, 1 or 3) uint8.
        heat: (h, w) in [0, 1]; resized to the image by bilinear interpolation.

    Returns:
        (S, S, 3) uint8: red to yellow with increasing heat, the image itself where the heat is 0.
    """
    size = pixels.shape[1], pixels.shape[0]
    resized = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    strength = np.clip(resized, 0, 1)[:, :, None]
    colours = np.concatenate([np.full_like(strength, 255), 220 * strength, np.zeros_like(strength)], axis=2)
    mixed = pixels * (1 - _HEAT_OPACITY * strength) + colours * _HEAT_OPACITY * strength
    return np.asarray(np.clip(mixed, 0, 255).round(), dtype=np.uint8)


def with_mask_comparison(
    pixels: NDArray[np.uint8], truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Colour an image by the agreement of its true and predicted masks.

    Args:
        pixels: (S, S, 1 or 3) uint8.
        truth: (S, S) true classes, 0 for the background.
        predicted: (S, S) predicted classes.

    Returns:
        (S, S, 3) uint8: green where a class is found, blue where it is missed, red where a class is predicted wrongly,
        which includes one class taken for another.
    """
    areas = {_FOUND: (truth == predicted) & (truth > 0), _MISSED: (predicted == 0) & (truth > 0)}
    areas[_WRONG] = (truth != predicted) & (predicted > 0)
    mixed = np.repeat(pixels, 3 // pixels.shape[2], axis=2).astype(np.float32)
    for colour, area in areas.items():
        mixed[area] = (1 - _MASK_OPACITY) * mixed[area] + _MASK_OPACITY * np.array(colour, dtype=np.float32)
    return mixed.round().astype(np.uint8)


def align(pixels: NDArray[np.uint8], degrees: float, mirrored: bool) -> NDArray[np.uint8]:
    """Rotate and mirror the second image of a pair onto the first, by the result of ``similarity.registration``."""
    image = _pillow_image(pixels[::-1] if mirrored else pixels)  # mirrored about the horizontal axis, at angle 0
    rotated = np.asarray(image.rotate(-degrees, Image.Resampling.BILINEAR))  # Pillow rotates the other way
    return rotated.reshape(pixels.shape)


def _pillow_image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
