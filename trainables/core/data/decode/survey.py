"""A survey of the encoded images of a data set, which decides the format that they are decoded to."""

import dataclasses
import json
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainables.core.cpus import available_cpus
from trainables.core.data.decode.dicom import DICOM_WHITE, Window, is_dicom
from trainables.core.data.decode.high_bit_depth import deep_samples, usual_range
from trainables.core.data.decode.images import (
    DECODER_VERSION,
    GREY_MODES,
    PixelFormat,
    describe_window,
    open_image,
)
from trainables.core.data.source import Source
from trainables.core.errors import DataError, MissingPackageError
from trainables.core.node_cache import Store


class EncodedImages(Protocol):
    """A sequence of encoded images, read one at a time."""

    def __len__(self) -> int: ...
    def read(self, index: int) -> bytes:
        """Return the bytes of one image file."""
        ...


@dataclass(frozen=True, eq=False)
class Survey:
    """Findings about the encoded images of a data set.

    Attributes:
        pixel_format: Format that fits every readable image.
        sizes: (N, 2) int64 heights and widths as stored; 0 for unreadable images.
        highest: (N,) int64 largest samples of images with more than 8 bits per sample; 0 for all others.
        usual: (N, 2) int64 lowest and highest samples without padding and marks, see ``usual_range``; 0 for images of
            8 bits per sample.
    """

    pixel_format: PixelFormat
    sizes: NDArray[np.int64]
    highest: NDArray[np.int64]
    usual: NDArray[np.int64]


def survey(
    images: EncodedImages, threads: int, unreadable: Container[int] = (), window: Window | None = None
) -> Survey:
    """Survey every readable image. Only headers are read, except for deep images.

    Args:
        images: Encoded images.
        threads: Number of images to read in parallel.
        unreadable: Indices of images that are known to be unreadable.
        window: Centre and width that replace those of DICOM files.

    Raises:
        MissingPackageError: A package that reads an image is not installed.
        OSError: Any other image cannot be read.
    """
    dicom, shown_by_dicom = set[int](), set[int]()  # indices

    def look(index: int) -> tuple[bool, int, int, int, int, int, int]:
        if index in unreadable:
            return True, 0, 0, 0, 0, 0, 0
        try:
            data = images.read(index)
            with open_image(data, window) as image:
                samples = deep_samples(image, data)
                if is_dicom(data):
                    dicom.add(index)
                if samples is None:
                    return image.mode in GREY_MODES, 0, 0, 0, 0, image.height, image.width
                if is_dicom(data):
                    shown_by_dicom.add(index)
                lowest, highest = int(samples.min()), int(samples.max())
                return samples.ndim == 2, lowest, highest, *usual_range(samples), image.height, image.width
        except MissingPackageError:
            raise
        except DataError:
            return True, 0, 0, 0, 0, 0, 0

    with ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(look, range(len(images))))
    lowest = min((low for _, low, *_ in looks), default=0)
    highest = max((high for _, _, high, *_ in looks if high > 0), default=0)
    highest = max(highest, DICOM_WHITE if shown_by_dicom else 0)
    pixel_format = PixelFormat(
        channels=1 if all(grey for grey, *_ in looks) else 3,
        white=2 ** max(8, highest.bit_length()) - 1,
        black=0 if lowest >= 0 else -(2 ** (-lowest - 1).bit_length()),
        window=window,
        dicom=bool(dicom),
    )
    figures = np.array([figures for _, _, *figures in looks], dtype=np.int64).reshape(-1, 5)
    return _survey(pixel_format, figures)


def _survey(pixel_format: PixelFormat, figures: NDArray[np.int64]) -> Survey:
    """Return the survey with (N, 5) figures: the largest sample, the usual range, height and width."""
    return Survey(pixel_format, sizes=figures[:, 3:], highest=figures[:, 0], usual=figures[:, 1:3])


def surveyed_images(source: Source, fingerprint: str, store: Store, window: Window | None) -> Survey:
    """Return the survey of a data set's images, made once per node."""

    def write(folder: Path) -> None:
        found = survey(source, available_cpus(), source.unreadable, window)
        figures = np.column_stack([found.highest, found.usual, found.sizes])
        np.save(folder / "figures.npy", figures)
        (folder / "format.json").write_text(json.dumps(dataclasses.asdict(found.pixel_format)))

    def read(folder: Path) -> Survey:
        pixel_format = PixelFormat.from_dict(json.loads((folder / "format.json").read_text()))
        return _survey(pixel_format, np.load(folder / "figures.npy"))

    key = f"survey-v3-{fingerprint[:32]}{describe_window(window)}-v{DECODER_VERSION}"
    return store.read(key, write, read, size=1000 + 40 * len(source))
