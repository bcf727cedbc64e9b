"""Images as callers pass them to a registered model: encoded bytes, base64 text, or arrays of pixels."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.core.data.decode.crop import Box
from trainables.core.data.decode.high_bit_depth import scale_to_8_bits
from trainables.core.data.decode.images import PixelFormat, open_upright, to_pixels
from trainables.core.data.decode.nifti import Slicing, is_nifti, volume_slices
from trainables.core.data.readers.patient_names import names_patient
from trainables.core.data.readers.tables.table_files import cell_text
from trainables.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

PATIENT_COLUMN = "patient"
_SHOWN = 5


class UnreadableImageError(DataError):
    """An image of a sequence cannot be read.

    Attributes:
        position: Its position, counted from 0.
        reason: Reason in words.
    """

    def __init__(self, position: int, reason: object):
        super().__init__(position, str(reason))  # as pickle calls it: workers send errors to the driver
        self.position, self.reason = position, str(reason)

    def __str__(self) -> str:
        return f"image {self.position}: {self.reason}"


@contextmanager
def named_by(positions: Sequence[int] | NDArray[np.int64]) -> Iterator[None]:
    """Name an unreadable image of a batch by its position in the whole input.

    Args:
        positions: (n,) position of each image of the batch.
    """
    try:
        yield
    except UnreadableImageError as error:
        raise UnreadableImageError(int(positions[error.position]), error.reason) from error


def images_and_patients(model_input: Any, stated: Sequence[str] = ()) -> tuple[list[Any], list[str]]:
    """Return the images of the input that MLflow passes to ``predict``, and the patient of each.

    Args:
        model_input: An encoded image, a sequence of images, or a data frame, dict or list of dicts whose columns are
            the images and, if it has the column ``patient``, their patients. An image is encoded bytes, base64 text, or
            an array (H, W), (H, W, 1) or (H, W, 3) of any size: of uint8, or of samples in the range of the training
            images, as other integers or nested lists. In a data frame, the column of arrays must have a name.
        stated: Patients of the images if they are not a column; empty if they are, or if images are to be predicted.

    Returns:
        The n images and their n patients, as text; no patients if nothing names them.

    Raises:
        DataError: There are other columns, the data frame holds rows of pixels instead of images, an image lacks its
            patient, or patients are given twice.
    """
    import pandas as pd

    model_input = _unwrapped(model_input)
    if isinstance(model_input, list) and model_input and isinstance(model_input[0], dict):
        model_input = pd.DataFrame(model_input)
    columns: list[tuple[Any, list[Any]]]
    if isinstance(model_input, pd.DataFrame):
        _check_names(model_input)
        columns = [(name, list(model_input.iloc[:, place])) for place, name in enumerate(model_input.columns)]
    elif isinstance(model_input, dict):
        columns = [(name, _as_list(values)) for name, values in model_input.items()]
    else:
        columns = [("image", _as_list(model_input))]
    images = [values for name, values in columns if name != PATIENT_COLUMN]
    by_column = [values for name, values in columns if name == PATIENT_COLUMN]
    if len(images) != 1 or len(by_column) > 1:
        named = ", ".join([str(name) for name, _ in columns[:_SHOWN]] + ["..."] * (len(columns) > _SHOWN))
        raise DataError(
            "the input must have one column of images and, to combine the images of each patient, one called "
            f"{PATIENT_COLUMN}, but has {len(columns)}: {named}"
        )
    stated = _as_list(stated)
    if by_column and stated:
        raise DataError("patients must be a column or a parameter, but are both: leave one out")
    patients = [cell_text(_unwrapped(one)) for one in (by_column[0] if by_column else stated)]
    if patients:
        _check_patients(patients, len(images[0]))
    return list(map(_unwrapped, images[0])), patients


def _check_patients(patients: Sequence[str], images: int) -> None:
    """Raise DataError unless each image has a patient. Those of ``unknown`` would become one patient."""
    if len(patients) != images:
        raise DataError(f"patients must name the patient of each of {images} images, but has {len(patients)}")
    nameless = [place for place, name in enumerate(patients) if not names_patient(name)]
    if nameless:
        raise DataError(
            f"every image must have its patient, but {len(nameless)} of {images} have none, the first of them image "
            f"{nameless[0]}: name them, or leave all patients out to predict images"
        )


def _as_list(values: Any) -> list[Any]:
    """Return the images, or patients, of a sequence or of a single one.

    Raises:
        DataError: It is no sequence, or a single array, whose rows would pass for images.
    """
    values = _unwrapped(values)
    if isinstance(values, str | bytes | bytearray):
        return [values]
    if isinstance(values, np.ndarray) and values.ndim == 3 and values.shape[2] in (1, 3):
        raise DataError(f"an array must hold several images, but {values.shape} is a single one: pass a list of images")
    try:
        return list(values)
    except TypeError as error:
        kind = type(values).__name__
        raise DataError(
            f"the input must be images as encoded bytes, base64 text or arrays, but is {kind}: pass a list of images"
        ) from error


def _unwrapped(value: Any) -> Any:
    """Return the value of an array without dimensions, into which MLflow's server turns a text."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _check_names(frame: "pd.DataFrame") -> None:
    """Raise DataError for rows of pixels, into which a data frame takes nested lists apart.

    A row of RGB pixels would pass for a grey image and be scored.
    """
    unnamed = frame.shape[1] > 0 and not isinstance(frame.columns[0], str)
    if unnamed and not all(isinstance(image, str | bytes | bytearray) for image in frame.iloc[:, 0]):
        raise DataError('pixels must be in a column with a name, like {"instances": [{"image": [[0, ...], ...]}]}')


def with_slices(images: Sequence[Any], slicing: Slicing) -> tuple[list[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Replace each of m images that is a NIfTI volume by its slices.

    Returns:
        The n images and slices, the (n,) position in ``images`` of each, and (m,) True for volumes.

    Raises:
        UnreadableImageError: A volume cannot be read.
    """
    found: list[Any] = []
    positions, volumes = list[int](), np.zeros(len(images), dtype=bool)
    for position, image in enumerate(images):
        data = _encoded(image)
        volumes[position] = is_nifti(data)
        try:
            slices = list(volume_slices(data, slicing).values()) if volumes[position] else [image]
        except DataError as error:
            raise UnreadableImageError(position, error) from error
        found += slices
        positions += [position] * len(slices)
    return found, np.array(positions, dtype=np.int64), volumes


def _encoded(image: Any) -> bytes:
    """Return encoded bytes, also of base64 text; empty for anything else."""
    if isinstance(image, str):
        try:
            return base64.b64decode(image)
        except ValueError:
            return b""
    return bytes(image) if isinstance(image, bytes | bytearray) else b""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images at several sizes.

    Attributes:
        pixels: (n, size, size, channels) uint8 by size.
        shapes: Height and width of each image as an image viewer shows it, that is, after EXIF orientation.
    """

    pixels: dict[int, NDArray[np.uint8]]
    shapes: list[tuple[int, int]]


def decode_images(
    images: Sequence[Any], sizes: Iterable[int], pixel_format: PixelFormat, boxes: Sequence[Box | None] | None = None
) -> Decoded:
    """Decode n images once for all sizes, each cropped to its box if it has one.

    Raises:
        UnreadableImageError: An image cannot be read.
    """
    pixels: dict[int, list[NDArray[np.uint8]]] = {size: [] for size in sizes}
    shapes = []
    for position, image in enumerate(images):
        try:
            with _opened(image, pixel_format) as upright:
                shapes.append((upright.height, upright.width))
                for size, decoded in pixels.items():
                    decoded.append(to_pixels(upright, size, pixel_format, boxes[position] if boxes else None))
        except (DataError, TypeError, ValueError) as error:
            raise UnreadableImageError(position, error) from error
    return Decoded({size: np.stack(decoded) for size, decoded in pixels.items()}, shapes)


@contextmanager
def _opened(image: Any, pixel_format: PixelFormat) -> Iterator[Image.Image]:
    """Open an image of 8 bits. TypeError and ValueError mean that the value is not an image at all."""
    parsed = _parse(image, pixel_format)
    if isinstance(parsed, bytes):
        with open_upright(parsed, pixel_format) as upright:
            yield upright
    else:
        yield Image.fromarray(parsed)


def _parse(image: Any, pixel_format: PixelFormat) -> bytes | NDArray[np.uint8]:
    """Return the encoded bytes of an image, or its pixels as (H, W) or (H, W, 3)."""
    if isinstance(image, str):
        image = base64.b64decode("".join(image.split()), validate=True)  # MLflow's own encoder inserts line breaks
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if not isinstance(image, np.ndarray | list | tuple):  # an image of Pillow may hold the numbers of its palette
        raise DataError(f"it must be encoded bytes, base64 text or an array, but is {type(image).__name__}")
    array = np.asarray(image)
    if array.dtype != np.uint8:  # JSON and MLflow's dict input carry arrays as nested lists
        array = _in_8_bits(array, pixel_format)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise DataError(f"an array must be (H, W), (H, W, 1) or (H, W, 3), but is {array.shape}")
    if 0 in array.shape or (array.ndim == 2 and array.shape[1] == 3):
        raise DataError(f"an array must be an image, but {array.shape} is empty or one row of a colour image")
    return array


def _in_8_bits(array: NDArray[Any], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Scale samples in the range of the training images to 8 bits; that of 8-bit images changes nothing."""
    if array.dtype.kind not in "iu":
        raise DataError(f"pixels must be whole numbers, but are {array.dtype}")
    if not array.size:
        return array.astype(np.uint8)
    return scale_to_8_bits(array.astype(np.int64), pixel_format.black, pixel_format.white)
