"""What a data set is before it is decoded: encoded images with their labels, or masks, as published."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.masks import Masks

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"})


@dataclass(frozen=True)
class Source:
    """Encoded images with their labels, as published.

    Attributes:
        class_names: C names in class order.
        labels: (N,) int64 classes, -1 where an image has none.
        published: (N,) of ``train``, ``val``, ``test``, or "" where nothing was published.
        groups: (N,) int64: images of one group must not be split. Each image its own where nothing is known.
        names: N places, for messages.
        read_bytes: From an index to the encoded file.
        told: Whether the groups were told: by the data set, or by the user.
        files: N file names without folders, or "" where there are none.
        synthetic: Whether the images were made up.
        masks: Of the images, where pixels are classified; all images then have the same label.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    published: NDArray[np.str_]
    groups: NDArray[np.int64]
    names: Sequence[str]
    read_bytes: Callable[[int], bytes]
    told: bool = False
    files: Sequence[str] = ()
    synthetic: bool = False
    masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """The encoded file of one image."""
        return self.read_bytes(index)

    def digests(self) -> list[str]:
        """SHA-256 of each image's bytes, in order, and of its mask's; of none where it cannot be read."""
        return [self._digest(index) for index in range(len(self))]

    def _digest(self, index: int) -> str:
        readers = [self.read] if self.masks is None else [self.read, self.masks.read_bytes]
        return "".join(_sha256(read, index) for read in readers)


def _sha256(read: Callable[[int], bytes], index: int) -> str:
    try:
        return hashlib.sha256(read(index)).hexdigest()
    except OSError:  # told when it is decoded
        return hashlib.sha256().hexdigest()


def is_image(file: Path) -> bool:
    """Whether a path within a data set is an image: by its suffix, and not hidden."""
    hidden = any(part.startswith(".") for part in file.parts)
    return file.suffix.lower() in _IMAGE_SUFFIXES and not hidden
