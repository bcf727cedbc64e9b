"""What a data set is before it is decoded: encoded images with their labels, or masks, as published."""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.errors import DataError

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"})

# Names of folders and files that stand for a split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# A binary mask holds about 60 values after JPEG, and 117 after a bilinear resize: so many are no classes.
_MOST_CLASSES = 32
_SHOWN = 5


@dataclass(frozen=True)
class MaskFormat:
    """What the values of masks mean.

    Attributes:
        class_names: C names; pixels of none of them are background.
        classes: From a value to its class: 0 for the background, 1 + c for class c.
    """

    class_names: tuple[str, ...]
    classes: Mapping[int, int]

    @classmethod
    def of_values(cls, values: Sequence[int]) -> Self:
        """What sorted values mean where nobody says: 0 is the background, any other value a class.

        Raises:
            DataError: There is no class at all, no background, or more values than classes can be meant by.
        """
        found = ", ".join(map(str, values[:_SHOWN])) + ", ..." * (len(values) > _SHOWN)
        if len(values) > 1 + _MOST_CLASSES:
            raise DataError(
                f"masks must hold at most {_MOST_CLASSES} classes beside the background, but hold {len(values)} values "
                f"({found}), as after JPEG or resizing with interpolation: store PNGs, resized by nearest neighbour"
            )
        if len(values) < 2 or values[0] != 0:
            raise DataError(f"masks must hold 0 for the background and a value a class, but they hold {found}")
        names = ("foreground",) if len(values) == 2 else tuple(f"class_{value}" for value in values[1:])
        return cls(names, {value: place for place, value in enumerate(values)})

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, for JSON."""
        return {"class_names": list(self.class_names), "classes": list(self.classes.items())}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave, also after a way through JSON."""
        return cls(tuple(raw["class_names"]), dict(raw["classes"]))


@dataclass(frozen=True)
class Masks:
    """The encoded masks of a source's images.

    Attributes:
        read_bytes: From an image's index to its mask's file; empty where it has none.
        format: What the values mean, where the layout says so.
    """

    read_bytes: Callable[[int], bytes]
    format: MaskFormat | None = None


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


def numbered(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """(N,) numbers, equal where the keys are."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
