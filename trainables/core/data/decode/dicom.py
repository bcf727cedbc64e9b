"""Pixels of DICOM files as a viewer shows them: DICOM PS3.3, grey through modality LUT and VOI LUT or window."""

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.core.data.decode.dicom_grey import shown_grey
from trainables.core.errors import DataError, MissingPackageError, install_extra

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_FRAMES = 10_000
_MOST_BITS = 16
DICOM_WHITE = 2**16 - 1  # value of the brightest grey that can be displayed
_IMAGE_PIXEL_GROUP = 0x0028
_NO_INSTANCE = "2.25.0"  # equal frames must have equal bytes
# Tags of a frame in an enhanced multi-frame file: the sequence in its functional group, and the tags there.
_FRAME_TAGS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
_NEEDED_TAGS = ("BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelRepresentation", "SamplesPerPixel")
# Modalities whose pixels are no pictures: segmentations, and doses of radiotherapy.
_NO_IMAGES = {"SEG": "a segmentation", "RTDOSE": "a dose of radiotherapy", "PR": "a presentation of another image"}
_LUT_DATA = ("LUTData", "LookupTableData")  # ends of the names of tags with entries of LUTs
Window = tuple[float, float]

# pydicom quotes tags, which may name the patient, in warnings and log records. ``catch_warnings`` is not enough: the
# end of one thread's block ends those of all threads. And pydicom sets its logger's level when it is imported.
warnings.filterwarnings("ignore", module=r"pydicom\b")
logging.getLogger("pydicom").addFilter(lambda _: False)


def is_dicom(data: bytes) -> bool:
    """Return True if a file begins like DICOM: 128 arbitrary bytes, then ``DICM``."""
    return data[128:132] == b"DICM"


def read_header(data: bytes | io.BufferedIOBase) -> "Dataset":
    """Read the tags before the pixels.

    Raises:
        DataError: pydicom is not installed, or the file is damaged. No tag's value is part of the message.
    """
    return _read(data, stop_before_pixels=True)


def count_frames(header: "Dataset") -> int:
    """Return the number of frames.

    Raises:
        DataError: There are none, or more than 10,000.
    """
    with _private_errors("not a readable DICOM file"):
        frames = 1 if header.get("NumberOfFrames") is None else int(header.NumberOfFrames)
    if not 0 < frames <= _MOST_FRAMES:
        raise DataError(f"a DICOM image must have 1 to {_MOST_FRAMES} frames, but this one has {frames}")
    return frames


def is_incomplete(header: "Dataset", size: int) -> bool:
    """Return True if a file of ``size`` bytes cannot hold the uncompressed pixels that its header announces."""
    from pydicom.pixels.utils import get_expected_length

    with _private_errors("not a readable DICOM file"):
        syntax = header.file_meta.TransferSyntaxUID
        return not (syntax.is_compressed or syntax.is_deflated) and size < get_expected_length(header)


def dicom_image(data: bytes, window: Window | None = None) -> Image.Image:
    """Return the only frame of a DICOM file as a Pillow image.

    Grey pixels pass the modality LUT or rescale, then the first VOI LUT or window. Without one, the frame's lowest
    value becomes black and its highest white. MONOCHROME1 is inverted. The result has 16 bits, so that nothing is lost
    before the window. Palettes and YBR become 8-bit RGB.

    Args:
        data: Bytes of a DICOM file.
        window: Centre and width that replace those of the file, in units after the modality LUT, such as Hounsfield.

    Raises:
        DataError: The file has no pixels of at most 16 bits, several frames, a window without width, or a compression
            that no installed package reads. No tag's value is part of the message.
    """
    dataset = _read_pixels(data)
    syntax = _check_pixels(dataset)
    frames = count_frames(dataset)
    if frames > 1:
        raise DataError(f"it has {frames} frames: store each one as a file of its own")
    with _private_errors(f"its DICOM pixels cannot be decoded ({syntax})"):
        _copy_frame_tags(dataset, 0, dataset)
        if window is not None:
            dataset.WindowCenter, dataset.WindowWidth = window
            dataset.VOILUTFunction, dataset.VOILUTSequence = "LINEAR", None
        return _image(dataset)


def extract_frame(data: bytes, frame: int) -> bytes:
    """Return one frame of a DICOM file, see ``frame_extractor``."""
    return frame_extractor(data)(frame)


def frame_extractor(data: bytes) -> Callable[[int], bytes]:
    """Parse a DICOM file once for all its frames.

    Args:
        data: Bytes of a DICOM file.

    Returns:
        A function that threads may share. It returns a frame, counted from 0, as a file of its own, with the tags that
        describe its pixels and no others. It raises DataError if the frame cannot be decoded.

    Raises:
        DataError: The file has no pixels that can be decoded. No tag's value is part of any message.
    """
    dataset = _read_pixels(data)
    return partial(_extract, dataset, _check_pixels(dataset))


def _extract(dataset: "Dataset", syntax: str, frame: int) -> bytes:
    from pydicom import Dataset, FileMetaDataset
    from pydicom.pixels import pixel_array
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    encoded = io.BytesIO()
    with _private_errors(f"its DICOM pixels cannot be decoded ({syntax})"):
        samples = pixel_array(dataset, index=frame)
        samples = samples.astype(samples.dtype.newbyteorder("<"))
        single = Dataset()
        for element in dataset.group_dataset(_IMAGE_PIXEL_GROUP):
            single.add(copy.deepcopy(element))  # the next frame needs the original
        _copy_frame_tags(dataset, frame, single)
        single.NumberOfFrames = 1
        if samples.ndim == 3:
            single.PhotometricInterpretation, single.PlanarConfiguration = "RGB", 0
        single.BitsAllocated = 8 * samples.itemsize
        single.add_new("PixelData", "OW", samples.tobytes() + b"\0" * (samples.nbytes % 2))
        single.file_meta = FileMetaDataset()
        single.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        single.SOPClassUID = single.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        single.SOPInstanceUID = single.file_meta.MediaStorageSOPInstanceUID = _NO_INSTANCE
        single.save_as(encoded, enforce_file_format=True)
    return encoded.getvalue()


@contextmanager
def _private_errors(message: str) -> Iterator[None]:
    """Replace errors by ``message``, and drop warnings: pydicom quotes tags in them, which may name the patient."""
    with warnings.catch_warnings(action="ignore"):
        try:
            yield
        except (DataError, MemoryError):
            raise
        except Exception as error:  # pydicom and its plugins raise errors of many types
            raise DataError(f"{message}: {type(error).__name__}") from None


def _read(data: bytes | io.BufferedIOBase, **settings: Any) -> "Dataset":
    try:
        import pydicom
    except ImportError as error:
        raise MissingPackageError(f"reading DICOM needs pydicom: {install_extra('medical')}") from error
    with _private_errors("not a readable DICOM file"):
        return pydicom.dcmread(io.BytesIO(data) if isinstance(data, bytes) else data, **settings)


def _read_pixels(data: bytes) -> "Dataset":
    """Read a file whole. Entries of LUTs are little-endian, whereas pydicom leaves them as they are stored."""
    dataset = _read(data)
    with _private_errors("not a readable DICOM file"):
        if dataset.original_encoding[1] is False:
            for element in dataset.iterall():
                if element.VR == "OW" and element.keyword.endswith(_LUT_DATA):
                    element.value = np.frombuffer(element.value, "<u2").byteswap().tobytes()
    return dataset


def _check_pixels(dataset: "Dataset") -> str:
    """Return the name of the pixels' encoding, or raise DataError if there is nothing to decode."""
    with _private_errors("its DICOM pixels cannot be described"):
        return _encoding_of_pixels(dataset)


def _encoding_of_pixels(dataset: "Dataset") -> str:
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import get_expected_length

    if what := _NO_IMAGES.get(read_text(dataset, "Modality")):
        raise DataError(f"this DICOM file is {what}, not an image: move it out of the data set")
    if "PixelData" not in dataset:
        floats = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        raise DataError("its DICOM pixels are floating-point" if floats else "this DICOM file has no pixels")
    height, width, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsStored"))
    most = Image.MAX_IMAGE_PIXELS
    if height < 1 or width < 1 or (most is not None and height * width > most):
        raise DataError(f"a DICOM image must have 1 to {most} pixels, but this one has {width} x {height}")
    missing = [tag for tag in _NEEDED_TAGS if dataset.get(tag) in (None, "")]
    if missing:
        raise DataError(f"this DICOM file lacks {', '.join(missing)}: its pixels have no meaning without")
    if not 1 <= bits <= _MOST_BITS:
        raise DataError(f"DICOM pixels must have 1 to {_MOST_BITS} bits, but these have {bits}")
    high_bit = int(dataset.get("HighBit", bits - 1))
    if high_bit != bits - 1:  # pydicom reads the lowest bits in any case
        raise DataError(f"HighBit of DICOM pixels must be BitsStored - 1, here {bits - 1}, but is {high_bit}")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DataError("this DICOM file does not say how its pixels are encoded (no transfer syntax)")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise DataError(f"DICOM pixels encoded as {syntax.name} are not supported: convert the file") from error
    if syntax.is_compressed and not available:
        raise MissingPackageError(f"DICOM pixels encoded as {syntax.name} need a decoder: {install_extra('medical')}")
    if not syntax.is_compressed:
        expected = get_expected_length(dataset)
        if len(dataset.PixelData) < expected:
            raise DataError(f"its DICOM pixels are incomplete: {len(dataset.PixelData)} of {expected} bytes")
        if len(dataset.PixelData) >= expected + expected // count_frames(dataset):
            raise DataError("this DICOM file holds the pixels of more frames than its NumberOfFrames says")
    return str(syntax.name)


def read_text(header: "Dataset", tag: str) -> str:
    """Return a tag's value as text; "" if it is missing or cannot be read."""
    try:
        with _private_errors("not a readable tag"):
            return str(header.get(tag) or "").strip()
    except DataError:
        return ""


def has_window(header: "Dataset") -> bool:
    """Return True if grey values are shown through a VOI LUT or window, or if the image is in colour."""
    with _private_errors("not a readable DICOM file"):
        _copy_frame_tags(header, 0, header)
        in_colour = int(header.get("SamplesPerPixel") or 1) > 1
        return in_colour or bool(header.get("VOILUTSequence")) or header.get("WindowCenter") is not None


def _copy_frame_tags(dataset: "Dataset", frame: int, into: "Dataset") -> None:
    """Copy the rescale and window of a frame, which enhanced multi-frame files store in functional groups."""
    groups = [dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")]
    for items, index in zip(groups, (frame, 0), strict=True):
        for sequence, tags in _FRAME_TAGS.items():
            found = (items[index].get(sequence) if items else None) or [{}]
            for tag in tags:
                if tag in found[0] and tag not in into:
                    setattr(into, tag, found[0].get(tag))


def _image(dataset: "Dataset") -> Image.Image:
    from pydicom.pixels import apply_color_lut, pixel_array

    samples = pixel_array(dataset, index=0)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        entries, first, bits = map(int, dataset.RedPaletteColorLookupTableDescriptor)
        palette = apply_color_lut(first + np.arange(entries or 2**16), dataset)
        # Some devices announce entries of 16 bits, but write 8.
        return _colour(apply_color_lut(samples, dataset), 8 if palette.max() < 2**8 else bits)
    if samples.ndim == 3:
        return _colour(samples, int(dataset.BitsStored))
    shown = shown_grey(dataset, samples)
    shown = 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown
    return Image.fromarray((np.clip(shown, 0, 1) * DICOM_WHITE).round().astype(np.uint16))


def _colour(samples: NDArray[Any], bits: int) -> Image.Image:
    shown = samples >> (bits - 8) if bits >= 8 else samples.astype(np.int64) * 255 // (2**bits - 1)
    return Image.fromarray(shown.astype(np.uint8))
