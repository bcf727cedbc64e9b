"""Decoding of image files to uint8 arrays, the same for training and for a registered model."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.core.data.decode.crop import Box
from trainables.core.data.decode.damage import check_undamaged
from trainables.core.data.decode.dicom import Window, dicom_image, is_dicom
from trainables.core.data.decode.high_bit_depth import deep_samples, describe_tiff, scale_to_8_bits
from trainables.core.data.decode.nifti import Slicing, is_nifti
from trainables.core.errors import DataError, first_line

# Pillow reads more formats, some through other programs: it would pass an EPS file named `scan.png` to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
Image.init()  # registers the formats, so that `Image.open` accepts their names

# Part of every cache key. Raise it whenever the same bytes would decode to other pixels.
DECODER_VERSION = 7
GREY_MODES = frozenset({"1", "L", "LA", "La"})
_PAGED_FORMATS = frozenset({"GIF", "PNG", "TIFF", "WEBP"})
_PHOTOMETRIC, _EXTRA_SAMPLES = 262, 338  # TIFF tags
_GREY_PHOTOMETRICS, _UNSPECIFIED = (0, 1), 0
# Side in pixels of the images that are compared with each other, and with those that a model was trained on.
SIDE = 64
# Mean difference between channels, in grey levels, up to which an image counts as grey: JPEG leaves 1 or 2.
_MOST_CHROMA = 4.0


@dataclass(frozen=True)
class PixelFormat:
    """Common format of all images of a data set.

    Attributes:
        channels: 1 if every image is grey, else 3.
        white: Value that becomes 255. For 8-bit images it is 255. For deeper ones it is the smallest 2**n - 1 that
            covers the data set, so that 12-bit images in 16-bit files do not come out dark. Grey DICOM images have
            a scale of their own, whatever their values.
        black: Value that becomes 0: 0, or for signed samples the largest -2**n that covers the data set.
        window: Centre and width that replace those of DICOM files, or None.
        slicing: Slices to take from NIfTI volumes; None if the data set has no volumes.
        dicom: True if the data set has DICOM files.
    """

    channels: int
    white: int
    black: int = 0
    window: Window | None = None
    slicing: Slicing | None = None
    dicom: bool = False

    @property
    def is_deep(self) -> bool:
        """True if some image has more than 8 bits per sample, or signed samples."""
        return (self.black, self.white) != (0, 255)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the result of ``dataclasses.asdict``, also after JSON."""
        window, slicing = raw.get("window"), raw.get("slicing")
        medical = {"window": window and tuple(window), "slicing": slicing and Slicing(**slicing)}
        return cls(**{**raw, **medical})


@contextmanager
def open_image(data: bytes, window: Window | None = None) -> Iterator[Image.Image]:
    """Open an encoded image of one of ``FORMATS``, whose pixels are read on use, or a DICOM file of one frame.

    Args:
        data: Bytes of the file.
        window: Centre and width that replace those of a DICOM file.

    Raises:
        DataError: The bytes are no image, the image is too large, or it breaks within the block.
    """
    if is_dicom(data):
        yield dicom_image(data, window)
        return
    if not data:
        raise DataError("not a readable image: the file is empty, copy it again")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_kind(opened)
            check_undamaged(data, opened)
            yield opened
    except UnidentifiedImageError as error:  # Pillow names the buffer's address instead
        if is_nifti(data):
            raise DataError("it is a NIfTI volume: slices are only taken from files with labels of volumes") from error
        tiff = describe_tiff(data)
        kind = f"TIFF of {tiff} is not supported: store 8 or 16 unsigned bits, black as 0" if tiff else "unknown format"
        raise DataError(f"not a readable image: {kind}") from error
    except (DataError, MemoryError):  # the latter says nothing about the image
        raise
    except Exception as error:  # each format's reader raises its own errors on a broken file
        raise DataError(f"not a readable image: {first_line(error)}") from error


def decode(data: bytes, size: int, pixel_format: PixelFormat, box: Box | None = None) -> NDArray[np.uint8]:
    """Decode one image and resize it to a square (bilinear, antialiased, without keeping the aspect ratio).

    EXIF orientation is applied, alpha is dropped, palettes become colours. A small coloured mark on a grey image, such
    as a sticker, becomes grey like the rest if all images are to be grey.

    Args:
        data: Bytes of a JPEG, PNG, TIFF, ... file.
        size: Side in pixels.
        pixel_format: Channels and scale.
        box: Box to crop to first, or None.

    Returns:
        (size, size, channels) uint8.

    Raises:
        DataError: The bytes are no readable image, or an image of another kind than those of the data set: with values
            outside its range, or in colour where all of them are grey.
    """
    with open_upright(data, pixel_format) as image:
        return to_pixels(image, size, pixel_format, box)


@contextmanager
def open_upright(data: bytes, pixel_format: PixelFormat) -> Iterator[Image.Image]:
    """Open an encoded image, turned as its EXIF orientation says and scaled to 8 bits. Raises like ``decode``."""
    with open_image(data, pixel_format.window) as opened:
        samples = deep_samples(opened, data)
        if samples is None:
            yield ImageOps.exif_transpose(opened)
        else:
            yield Image.fromarray(scale_to_8_bits(samples, pixel_format.black, pixel_format.white))


def _check_kind(image: Image.Image) -> None:
    """Raise ValueError for an image that is too large, has several pages, or has values without a fixed scale."""
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise ValueError(f"image size {image.width} x {image.height} exceeds {most} pixels")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range: store 8 or 16 bits")
    tags = getattr(image, "tag_v2", {})
    extra, is_grey = tags.get(_EXTRA_SAMPLES, ()), tags.get(_PHOTOMETRIC) in _GREY_PHOTOMETRICS
    if len(extra) > 1 or (is_grey and _UNSPECIFIED in extra):  # Pillow would drop them
        samples = len(extra) + (1 if is_grey else 3)
        raise ValueError(f"it has {samples} samples per pixel: store grey or RGB images, at most with alpha")
    pages = getattr(image, "n_frames", 1) if image.format in _PAGED_FORMATS else 1
    if pages > 1:
        raise ValueError(f"it has {pages} pages or frames: store each one as a file of its own")


def to_pixels(image: Image.Image, size: int, pixel_format: PixelFormat, box: Box | None = None) -> NDArray[np.uint8]:
    """Convert a Pillow image, cropped to a box if given, to (size, size, channels) uint8."""
    if pixel_format.channels == 1:
        _check_grey(image)  # the whole image, as in training: a small mark may fill a box
    image = image.crop(box) if box else image
    image = image.convert("L" if pixel_format.channels == 1 else "RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, pixel_format.channels)


def _check_grey(image: Image.Image) -> None:
    """Raise DataError for an image in colour. Grey images stored in colour are accepted."""
    if image.mode in GREY_MODES:
        return
    channels = np.asarray(image.convert("RGB")).astype(np.int16)
    chroma = float(np.abs(channels - channels[:, :, :1]).mean())
    if chroma > _MOST_CHROMA:
        raise DataError("it is in colour, but grey images are expected")


def describe_window(window: Window | None) -> str:
    """Return the part of a cache key that stands for a window; empty without one."""
    return "" if window is None else "-window{:g}to{:g}".format(*window)
