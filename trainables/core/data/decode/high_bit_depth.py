"""Images with more than 8 bits per sample: read without loss, then scaled to 8 bits.

Pillow keeps the depth of grey images, but reduces deep colour and alpha to 8 bits and ignores WhiteIsZero at 16 bits.
It stretches grey samples of JPEG 2000 and PGM to 16 bits, which is undone here. OpenCV keeps the depth of colour.
"""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from trainables.core.errors import DataError, MissingPackageError
from trainables.core.plural import plural

_GREY_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_SAMPLE_BITS, _PHOTOMETRIC, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 258, 262, 284, 338, 339  # TIFF tags
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED, _SEPARATE, _PREMULTIPLIED = 0, 1, 2, 2, 1
_SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_TIFF = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"})
_ORIENTATION = 0x0112
_WHITE_8, _WHITE_16 = 2**8 - 1, 2**16 - 1
# EXIF orientation to (transpose, flip rows, flip columns), applied in this order.
_ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def deep_samples(image: Image.Image, data: bytes) -> NDArray[np.int64] | None:
    """Return the samples of an image with more than 8 bits per sample, oriented by its EXIF tag.

    Args:
        image: The image as Pillow opened it.
        data: The bytes of its file.

    Returns:
        (H, W) of a grey image, or (H, W, 3) in RGB order; alpha is dropped. None for images of at most 8 unsigned bits.

    Raises:
        ValueError: The samples cannot be read without loss.
    """
    if image.format == "JPEG2000":
        stored = _jpeg2000(image, data)
        if stored is None:
            return None
        samples = stored
    elif image.mode in _GREY_MODES:
        samples = _grey(image)
    elif _is_signed(image):  # Pillow reads -1 as 255
        samples = np.asarray(image).view(np.int8).astype(np.int64)
    elif _is_reduced_to_8_bits(image):
        samples = _colour(image, data)
    else:
        return None
    if image.format == "TIFF":  # Pillow and OpenCV have turned it
        return samples
    transpose, rows, columns = _ORIENTATIONS.get(image.getexif().get(_ORIENTATION, 1), (False, False, False))
    samples = samples.swapaxes(0, 1) if transpose else samples
    return samples[:: -1 if rows else 1, :: -1 if columns else 1]


def stored_samples(image: Image.Image, data: bytes) -> NDArray[Any]:
    """Return the (H, W) or (H, W, C) samples as they are stored, for masks: Pillow stretches those of PNM to 8 bits.

    Arguments and errors are those of ``deep_samples``.
    """
    samples = deep_samples(image, data)
    if samples is not None:
        return samples
    maxima = [part for part in _decoder_arguments(image) if isinstance(part, int)]  # gone once the image is loaded
    shown = np.asarray(ImageOps.exif_transpose(image))
    return _unstretched(shown, max(maxima), _WHITE_8) if image.format == "PPM" and maxima else shown


def grey_bits(image: Image.Image) -> int:
    """Return the bits per sample of a grey image that Pillow stretches to 8 bits, and 8 for all others."""
    if image.mode == "1":
        return 1
    rawmodes = [part for part in _decoder_arguments(image) if isinstance(part, str)]
    return next((int(part[2]) for part in rawmodes if part.startswith(("L;2", "L;4"))), 8)


def describe_tiff(data: bytes) -> str:
    """Describe the samples of a TIFF file for a message, like ``3 samples of 16 signed bits``; "" for other files."""
    if data[:4] not in _TIFF:
        return ""
    try:
        tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[:4] else 8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        bits = tags.get(_SAMPLE_BITS, (1,))
        kind = _SAMPLE_KINDS.get(max(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))), "undefined")
    except (SyntaxError, ValueError, OSError, struct.error):  # damaged
        return ""
    inverted = " with white as 0" * (tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    return f"{plural(len(bits), 'sample')} of {max(bits)} {kind} bits per pixel{inverted}"


def usual_range(samples: NDArray[np.int64]) -> tuple[int, int]:
    """Return the lowest and highest sample, leaving out padding and marks, such as -32768 around a CT slice.

    The lowest value is left out if its gap to the second lowest exceeds the range of all values but the lowest and the
    highest. The same rule holds for the highest value.
    """
    lowest, highest = int(samples.min()), int(samples.max())
    between = samples[(samples > lowest) & (samples < highest)]
    if not len(between):
        return lowest, highest
    low, high = int(between.min()), int(between.max())
    return low if low - lowest > high - low > 0 else lowest, high if highest - high > high - low > 0 else highest


def scale_to_8_bits(samples: NDArray[np.int64], black: int, white: int) -> NDArray[np.uint8]:
    """Scale samples so that ``black`` becomes 0 and ``white`` 255.

    Raises:
        DataError: A sample is outside that range.
    """
    lowest, highest = int(samples.min()), int(samples.max())
    if lowest < black or highest > white:
        raise DataError(
            f"its values reach from {lowest} to {highest}, but values from {black} to {white} are expected: "
            "convert it to that range"
        )
    values = (samples - black).astype(np.float32) * np.float32(255 / (white - black))
    return np.asarray(np.clip(values, 0, 255).round(), dtype=np.uint8)


def _grey(image: Image.Image) -> NDArray[np.int64]:
    numbers = [part for part in _decoder_arguments(image) if isinstance(part, int)]  # gone once the image is loaded
    samples = np.asarray(image)
    if image.format == "PPM" and numbers:  # Pillow stretches samples from 0 to the file's maximum
        return _unstretched(samples, max(numbers), _WHITE_16)
    tags = getattr(image, "tag_v2", {})
    (sample_format, *_) = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    if samples.dtype == np.int32 and samples.min(initial=0) < 0 and tags and sample_format == _UNSIGNED:
        samples = samples.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    wide = samples.astype(np.int64)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        wide = 2 ** max(tags.get(_SAMPLE_BITS, (16,))) - 1 - wide
    return wide


def _unstretched(samples: NDArray[Any], maximum: int, white: int) -> NDArray[np.int64]:
    """Undo the scaling of samples from ``maximum`` to ``white``."""
    return (samples.astype(np.int64) * maximum + white // 2) // white


def _is_signed(image: Image.Image) -> bool:
    return image.mode == "L" and _SIGNED in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())


def _is_reduced_to_8_bits(image: Image.Image) -> bool:
    """Return True if the file has deeper samples than the mode in which Pillow reads it."""
    parts = _decoder_arguments(image)
    if image.format == "BMP":  # 16 bits for the three colours together
        return False
    if image.format == "PPM":
        return any(isinstance(part, int) and part > 255 for part in parts)
    tagged = max(getattr(image, "tag_v2", {}).get(_SAMPLE_BITS, (8,)))
    return tagged > 8 or any(isinstance(part, str) and ";16" in part for part in parts)


def _decoder_arguments(image: Image.Image) -> tuple[Any, ...]:
    """Return the arguments of Pillow's decoder, the only source of the depth of the samples in the file."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _jpeg2000(image: Image.Image, data: bytes) -> NDArray[np.int64] | None:
    """Return the samples of a JPEG 2000 file; None if they have 8 unsigned bits."""
    bits, signed = _jpeg2000_samples(data)
    if (bits, signed) == (8, False):
        return None
    if image.mode not in _GREY_MODES | {"L"}:
        if bits < 8 or signed:  # Pillow does not stretch colours to 8 bits, and OpenCV refuses them
            raise ValueError("JPEG 2000 in colour must have at least 8 unsigned bits per sample")
        return _colour(image, data)
    if not 8 <= bits <= 16:
        raise ValueError(f"JPEG 2000 must have 8 to 16 bits per sample, but this image has {bits}")
    stored = 8 if image.mode == "L" else 16  # Pillow shifts samples up to this width, and signed ones above 0
    samples = np.asarray(image).astype(np.int64) >> (stored - bits)
    return samples - 2 ** (bits - 1) if signed else samples


def _jpeg2000_samples(data: bytes) -> tuple[int, bool]:
    """Return the most bits of a component and if any is signed, from the SIZ marker that begins every codestream."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return 8, False  # truncated: Pillow raises
    components = int.from_bytes(data[start + 40 : start + 42], "big")
    depths = data[start + 42 : start + 42 + 3 * components : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=8), any(depth & 0x80 for depth in depths)


def _colour(image: Image.Image, data: bytes) -> NDArray[np.int64]:
    if getattr(image, "tag_v2", {}).get(_PLANES) == _SEPARATE:  # OpenCV reads one plane as all three
        raise ValueError("deep TIFF images with separate colour planes are not supported: interleave the colours")
    samples = _decoded_by_opencv(data)
    if samples is None or samples.dtype != np.uint16 or samples.shape[:2] != (image.height, image.width):
        raise ValueError(f"deep {image.format} images in mode {image.mode} are not supported: store 8 bits per sample")
    wide = samples.astype(np.int64)
    if wide.ndim == 2:
        return wide
    if _PREMULTIPLIED in getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES, ()) and (wide[:, :, -1] < 2**16 - 1).any():
        raise ValueError(
            "deep TIFF images whose colours are multiplied by their alpha are not supported: drop the alpha"
        )
    grey_and_alpha = any(isinstance(part, str) and part.startswith("LA") for part in _decoder_arguments(image))
    return wide[:, :, 0] if grey_and_alpha else wide[:, :, 2::-1]  # OpenCV's order is BGR


def _decoded_by_opencv(data: bytes) -> NDArray[Any] | None:
    """Return the samples of an image file in OpenCV's order of channels; None if OpenCV cannot read it."""
    try:
        import cv2  # not among the requirements of a model that was trained on 8-bit images
    except ImportError as error:
        raise MissingPackageError(
            "reading colours of more than 8 bits needs OpenCV: pip install opencv-python-headless"
        ) from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot read is refused by us
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
