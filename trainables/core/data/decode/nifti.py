"""Slices of NIfTI volumes as 8-bit grey images, turned as radiologists look at them."""

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError, MissingPackageError, install_extra

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

# Axis of a volume whose axes lead to the right, to the front and up.
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
PERCENTILES = (0.5, 99.5)
_MOST_VOXELS = 2**28  # 512 x 512 x 1024
_MOST_OFFSET = 2**24  # bytes before the voxels: the header and its extensions
_HEADER_BYTES = 540  # of NIfTI-2; that of NIfTI-1 has 348
_GZIP = b"\x1f\x8b"
_DIMENSIONS = 3


@dataclass(frozen=True)
class Slicing:
    """Slices that are taken from each volume.

    Attributes:
        axis: Key of ``AXES``: the direction that the slices are stacked in, by the volume's affine.
        count: Most slices of a volume. They are those around its middle.
    """

    axis: str = "axial"
    count: int = 32


def is_nifti(data: bytes) -> bool:
    """Return True if a file begins like a NIfTI file that holds header and voxels, also if it is gzipped."""
    if data[:2] == _GZIP:
        try:
            data = zlib.decompressobj(31).decompress(data[:4096], _HEADER_BYTES)
        except zlib.error:
            return False
    return data[344:348] == b"n+1\0" or data[4:8] == b"n+2\0"


def slice_numbers(data: bytes, slicing: Slicing) -> range:
    """Return the numbers of a volume's slices in use, counted from 0 at its left, back or bottom.

    Args:
        data: The file's beginning, at least 4,096 bytes if the file has them.
        slicing: The slices to take.

    Raises:
        DataError: nibabel is not installed, or this is no volume. No text of the header is part of the message.
    """
    import_nibabel()
    with _private_errors():
        header = _read_header(data)
        shape = _checked_shape(header)
        axes = _orientation(header)[:, 0].tolist()
        return _middle(shape[axes.index(AXES[slicing.axis])], slicing.count)


def volume_slices(data: bytes, slicing: Slicing) -> dict[int, bytes]:
    """Return the slices of a volume as encoded 8-bit images (PGM), by their numbers as in ``slice_numbers``.

    Voxels are scaled so that the volume's 0.5th percentile becomes black and its 99.5th white. NaN and infinite voxels
    are black. Axial slices show the front at the top, others the head; sagittal slices show the front on the left,
    others the patient's right.

    Args:
        data: Bytes of a NIfTI file.
        slicing: The slices to take.

    Raises:
        DataError: nibabel is not installed, or the file is damaged, too large, no volume of real numbers, or all of its
            voxels are equal. No text of the header is part of the message.
    """
    nibabel = import_nibabel()
    with _private_errors():
        header = _read_header(data)
        shape, orientation = _checked_shape(header), _orientation(header)
        offset = int(header.get_data_offset())
        if not header.sizeof_hdr < offset <= _MOST_OFFSET:
            rule = f"the voxels must begin after the header, in the first {_MOST_OFFSET} bytes"
            raise DataError(f"{rule}, but begin at {offset}")
        needed = offset + int(np.prod(shape)) * header.get_data_dtype().itemsize
        content = _beginning(data, needed + 1)  # with the byte after the last, gzip reads its checksum
        if len(content) < needed:
            raise DataError(f"the NIfTI file must have {needed} bytes, but has only {len(content)}: copy it again")
        kind = nibabel.Nifti2Image if header.sizeof_hdr == _HEADER_BYTES else nibabel.Nifti1Image
        voxels = np.asanyarray(kind.from_bytes(content).dataobj).reshape(shape)
        volume = nibabel.orientations.apply_orientation(voxels, orientation)
        low, high = _limits(volume)
        planes = np.moveaxis(volume, AXES[slicing.axis], 0)
        return {number: _encoded(planes[number], low, high) for number in _middle(len(planes), slicing.count)}


def import_nibabel() -> Any:
    """Return the module nibabel, or raise DataError if it is not installed."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingPackageError(f"reading NIfTI needs nibabel: {install_extra('medical')}") from error
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it prints each unusual field of a header
    return nibabel


@contextmanager
def _private_errors() -> Iterator[None]:
    """Replace errors of nibabel, which may quote the header: its texts may name the patient."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:  # nibabel, gzip and NumPy raise errors of many types on a damaged file
        raise DataError(f"not a readable NIfTI file: {type(error).__name__}") from None


def _beginning(data: bytes, count: int) -> bytes:
    """Return the first bytes of a file, decompressed. A claimed size is never allocated."""
    if data[:2] != _GZIP:
        return data[:count]
    return gzip.GzipFile(fileobj=io.BytesIO(data)).read(count)


def _read_header(data: bytes) -> "Nifti1Header":
    from nibabel import Nifti1Header, Nifti2Header

    # The beginning of a gzipped file is not a whole gzip stream.
    start = zlib.decompressobj(31).decompress(data, _HEADER_BYTES) if data[:2] == _GZIP else data[:_HEADER_BYTES]
    kind = Nifti2Header if start[4:8] == b"n+2\0" else Nifti1Header
    return kind(start[: kind.sizeof_hdr])


def _checked_shape(header: "Nifti1Header") -> tuple[int, ...]:
    """Return the three dimensions of a volume."""
    stated = tuple(map(int, header.get_data_shape()))
    shown = " x ".join(map(str, stated)) or "none"
    used = [*stated]
    while len(used) > _DIMENSIONS and used[-1] == 1:
        used.pop()
    if len(used) > _DIMENSIONS:
        raise DataError(f"a volume must have 3 dimensions, but this one has {shown}: store one time point or direction")
    shape = tuple(used + [1] * (_DIMENSIONS - len(used)))
    if not stated or min(shape) < 1 or np.prod(shape, dtype=np.float64) > _MOST_VOXELS:
        raise DataError(f"a volume must have 1 to {_MOST_VOXELS} voxels, but this one has {shown}")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError("the voxels of a volume must be real numbers, but these are colours or complex numbers")
    return shape


def _orientation(header: "Nifti1Header") -> NDArray[np.float64]:
    """Return the value of ``AXES`` that each stored axis is closest to, and 1, or -1 if it leads the other way."""
    from nibabel.orientations import io_orientation

    orientation: NDArray[np.float64] = io_orientation(header.get_best_affine())
    if not np.isfinite(orientation).all():
        raise DataError("the affine of the volume gives an axis no direction: repair it")
    return orientation


def _middle(length: int, count: int) -> range:
    used = min(length, count)
    start = (length - used) // 2
    return range(start, start + used)


def _limits(volume: NDArray[Any]) -> tuple[float, float]:
    """Return the values that become black and white."""
    finite = volume[np.isfinite(volume)] if volume.dtype.kind == "f" else volume
    if finite.size == 0 or finite.min() == finite.max():
        raise DataError("all voxels of the volume are equal" if finite.size else "no voxel of the volume is a number")
    low, high = np.percentile(finite, PERCENTILES)
    if low == high:  # more than 99% of the voxels are equal, as in a mask
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def _encoded(plane: NDArray[Any], low: float, high: float) -> bytes:
    """Return a plane, whose axes lead to the right or front and to the front or up, as a PGM file."""
    values = plane[::-1, ::-1].T.astype(np.float64)
    shown = np.clip((np.where(np.isfinite(values), values, low) - low) / (high - low), 0, 1)
    pixels = (255 * shown).round().astype(np.uint8)
    return f"P5 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode() + pixels.tobytes()
