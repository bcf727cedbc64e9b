"""Decoding of a whole data set into ``.npy`` files, image by image on all CPUs."""

from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.cpus import available_cpus
from trainables.core.data.decode.crop import Regions
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.decode.masks import decode_mask
from trainables.core.data.source import MaskFormat, Source
from trainables.core.errors import DataError, MissingPackageError
from trainables.core.node_cache import write_array


def write_images(
    source: Source, file: Path, size: int, pixel_format: PixelFormat, regions: Regions | None
) -> dict[int, str]:
    """Write (N, size, size, channels) uint8 images.

    Returns:
        Reason for each image that cannot be decoded, by index. Its pixels are black.

    Raises:
        MissingPackageError: A package that reads an image is not installed.
        OSError: An image cannot be read that was readable before (``source.unreadable``).
    """
    shape = (size, size, pixel_format.channels)
    bad = dict(source.unreadable)

    def one(index: int) -> NDArray[np.uint8]:
        if index in source.unreadable:
            return np.zeros(shape, dtype=np.uint8)
        try:
            return decode(source.read(index), size, pixel_format, regions.box(index) if regions else None)
        except MissingPackageError:
            raise
        except DataError as error:
            bad[index] = str(error)
            return np.zeros(shape, dtype=np.uint8)

    with ThreadPoolExecutor(available_cpus()) as pool:
        write_array(file, (len(source), *shape), np.dtype(np.uint8), pool.map(one, range(len(source))))
    return bad


def write_masks(source: Source, file: Path, size: int, mask_format: MaskFormat, bad: Container[int]) -> None:
    """Write (N, size, size) uint8 masks. Those of ``bad`` images, which the survey reports, are empty.

    Raises:
        DataError: Any other mask cannot be decoded.
        OSError: Any other mask cannot be read.
    """
    assert source.masks is not None
    read_bytes = source.masks.read_bytes

    def one(index: int) -> NDArray[np.uint8]:
        try:
            return decode_mask(read_bytes(index), size, mask_format)
        except (DataError, OSError):
            if index not in bad:
                raise
            return np.zeros((size, size), dtype=np.uint8)

    with ThreadPoolExecutor(available_cpus()) as pool:
        write_array(file, (len(source), size, size), np.dtype(np.uint8), pool.map(one, range(len(source))))
