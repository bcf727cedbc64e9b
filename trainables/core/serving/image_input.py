"""Images as a registered model is given them: encoded bytes, base64 text, or arrays of pixels."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.core.data.decode.crop import Box
from trainables.core.data.decode.images import PixelFormat, decode, open_image, to_pixels
from trainables.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def first_column(frame: "pd.DataFrame") -> list[Any]:
    """The images of a data frame.

    Raises:
        DataError: They are pixels that the server took apart.
    """
    images = list(frame.iloc[:, 0])
    # Of nested lists without a column's name MLflow's server makes a frame whose first column is each image's first
    # line of pixels. In colour that would pass for a grey image, and be scored.
    unnamed = not isinstance(frame.columns[0], str)
    if unnamed and not all(isinstance(image, str | bytes | bytearray) for image in images):
        raise DataError('pixels must be in a column with a name, like {"instances": [{"image": [[0, ...], ...]}]}')
    return images


def given_images(model_input: Any) -> list[Any]:
    """The images of what MLflow hands to ``predict``.

    Args:
        model_input: A data frame whose first column holds images, or a sequence of images: encoded bytes, base64 text,
            or uint8 arrays (H, W), (H, W, 1) or (H, W, 3) of any size (in a frame, in a column with a name).
    """
    import pandas as pd

    return first_column(model_input) if isinstance(model_input, pd.DataFrame) else list(model_input)


def as_pixels(image: Any, size: int, pixel_format: PixelFormat, box: Box | None = None) -> NDArray[np.uint8]:
    """(size, size, channels) uint8 of one image, cut to a box if there is one.

    Raises:
        DataError: It cannot be read; also TypeError and ValueError, for what is no image at all.
    """
    given = _opened(image)
    if isinstance(given, bytes):
        return decode(given, size, pixel_format, box)
    return to_pixels(Image.fromarray(given), size, pixel_format, box)


def decoded(
    images: Sequence[Any], size: int, pixel_format: PixelFormat, boxes: Sequence[Box | None] | None = None
) -> NDArray[np.uint8]:
    """(n, size, size, channels) uint8 of n images, each cut to its box if it has one.

    Raises:
        DataError: One cannot be read; the message says which.
    """

    def one(position: int, image: Any) -> NDArray[np.uint8]:
        try:
            return as_pixels(image, size, pixel_format, boxes[position] if boxes else None)
        except (DataError, TypeError, ValueError) as error:
            raise DataError(f"image {position}: {error}") from error

    return np.stack([one(position, image) for position, image in enumerate(images)])


def size_of(image: Any) -> tuple[int, int]:
    """(H, W) of one image, as a viewer shows it; it raises as ``as_pixels`` does."""
    given = _opened(image)
    if not isinstance(given, bytes):
        return given.shape[0], given.shape[1]
    with open_image(given) as opened:
        width, height = ImageOps.exif_transpose(opened).size
    return height, width


def _opened(image: Any) -> bytes | NDArray[np.uint8]:
    if isinstance(image, str):
        image = base64.b64decode(image, validate=True)
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    array = np.asarray(image)
    if array.dtype != np.uint8:  # nested lists, as JSON and MLflow's dict input carry arrays
        if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > 255)):
            raise DataError(f"pixels must be whole numbers in 0..255, but are {array.dtype}")
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise DataError(f"an array must be (H, W), (H, W, 1) or (H, W, 3), but is {array.shape}")
    return array
