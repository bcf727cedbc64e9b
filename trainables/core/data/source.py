"""A data set before decoding: encoded images with their labels or masks, as published."""

import hashlib
import json
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.labels import label_sets, membership
from trainables.core.errors import ChangedFileError, DataError, MissingPackageError, first_line
from trainables.core.plural import plural

# Names of folders and files that stand for a split.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "seg_train"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "seg_test"), "test"),
}
# A binary mask has about 60 values after JPEG and 117 after a bilinear resize, so more values than this are no classes.
_MOST_CLASSES = 32
_UNKNOWN = 255
_HEX_DIGITS = 64  # of a SHA-256
_SHOWN = 5
_SHOWN_CLASSES = 10
_Content = TypeVar("_Content", bytes, bytes | None)


@dataclass(frozen=True)
class MaskFormat:
    """Classes of the values in masks.

    Attributes:
        class_names: C names. Pixels of no class are background.
        classes: Value to class: 0 for the background, 1 + c for class c.
    """

    class_names: tuple[str, ...]
    classes: Mapping[int, int]

    @classmethod
    def of_values(cls, values: Sequence[int]) -> Self:
        """Return the default meaning of sorted values: 0 is the background, every other value a class.

        Raises:
            DataError: There is no class, no background, there are too many values to be classes, or 255 seems to mean
                "unknown".
        """
        found = ", ".join(map(str, values[:_SHOWN])) + ", ..." * (len(values) > _SHOWN)
        if len(values) > 1 + _MOST_CLASSES:
            raise DataError(
                f"masks may have at most {_MOST_CLASSES} classes besides the background, but these have {len(values)} "
                f"values ({found}), as after JPEG or interpolation: store PNGs, resized by nearest neighbour"
            )
        if len(values) < 2 or values[0] != 0:
            raise DataError(f"masks must have 0 for the background and one value per class, but these have {found}")
        if len(values) > 2 and list(values) == [*range(len(values) - 1), _UNKNOWN]:
            found = f"0 to {len(values) - 2}"
            raise DataError(
                f"these masks have the values {found} and {_UNKNOWN}, which usually marks pixels without a label, as "
                f"in Pascal VOC: set them to the background, or to {len(values) - 1} if they are a class"
            )
        names = ("foreground",) if len(values) == 2 else tuple(f"class_{value}" for value in values[1:])
        return cls(names, {value: place for place, value in enumerate(values)})

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {"class_names": list(self.class_names), "classes": list(self.classes.items())}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the result of ``to_dict``, also after JSON."""
        return cls(tuple(raw["class_names"]), dict(raw["classes"]))


@dataclass(frozen=True)
class Masks:
    """Encoded masks of a source's images.

    Attributes:
        read_bytes: Returns the mask file of an image by its index; None if it has none.
        format: Meaning of the values, if the layout defines it.
    """

    read_bytes: Callable[[int], bytes | None]
    format: MaskFormat | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Encoded images with their labels, as published.

    Attributes:
        class_names: C names in class order.
        labels: (N,) int64 classes; or (N, C) with 1 for each label of an image and 0 for the others. -1 if unknown.
        published: (N,) of ``train``, ``val``, ``test``, or "" for images outside any published split.
        groups: (N,) int64. Images of one group must not be split. Without any information each image is its own group.
        has_patient: N values, True if the data set or the user says which patient, or other group, an image is of;
            empty if they say nothing. Similar images among all others are grouped, too.
        names: N places, for messages.
        read_bytes: Returns an encoded image file by its index.
        unclear_groups: Reason why the user must say how to group the images, as a message; "" if nothing is unclear.
        files: N file names without folders, or "" for images without a file.
        synthetic: True for generated images.
        masks: Masks of the images in a segmentation. All images then have the same label.
        unread: Number of files in the folder that are no images, by suffix.
        unlisted: Number of images in the folder that the table of labels does not name.
        unreadable: Reason why an image, or its mask, cannot be used, by its index. ``read_all`` adds unreadable files.
        metadata: Further columns of a table or of parquet files: name to N values, "" if missing.
        notes: Facts about how the data set was understood, such as the columns in use.
        slicing: Slices that were taken from NIfTI volumes; None if there are no volumes.
        patients: N PatientIDs of DICOM images that give the groups, "" if unknown; empty if something else gives them.
            They stay in memory: outputs have their ``pseudonym``.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    published: NDArray[np.str_]
    groups: NDArray[np.int64]
    names: Sequence[str]
    read_bytes: Callable[[int], bytes]
    has_patient: Sequence[bool] = ()
    unclear_groups: str = ""
    files: Sequence[str] = ()
    synthetic: bool = False
    masks: Masks | None = None
    unread: Mapping[str, int] = field(default_factory=dict)
    unlisted: int = 0
    unreadable: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    slicing: Slicing | None = None
    patients: Sequence[str] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def groups_given(self) -> bool:
        """True if the data set or the user says what groups there are."""
        return any(self.has_patient)

    @property
    def without_patient(self) -> NDArray[np.int64]:
        """Indices of the images whose patient, or other group, neither the data set nor the user says."""
        return np.flatnonzero(np.invert(self.has_patient)) if self.groups_given else np.arange(len(self))

    def describe(self) -> str:
        """Return the numbers of images, of each class, and of groups if they are given, in words."""
        groups = f" in {plural(len(np.unique(self.groups)), 'group')}" if self.groups_given else ""
        images = f"{plural(len(self), 'image')}{groups}"
        if self.masks is not None:
            return f"{images}, with masks"
        counts = membership(self.labels, len(self.class_names)).sum(axis=0).tolist()
        named = [f"{count} {name}" for name, count in zip(self.class_names, counts, strict=True)]
        more = f" and {len(named) - _SHOWN_CLASSES} more classes" if len(named) > _SHOWN_CLASSES else ""
        unlabelled = int((label_sets(self.labels) < 0).sum())
        return (
            f"{images}: {', '.join(named[:_SHOWN_CLASSES])}{more}{f', {unlabelled} without a label' * (unlabelled > 0)}"
        )

    def grouped_by(self, keys: Sequence[Hashable], known: Sequence[bool], option: str, **changes: Any) -> Self:
        """Return the source with groups that the user gives: those of equal keys.

        Args:
            keys: N keys.
            known: N values, False if the key names no group.
            option: The option that gives them, and its value.
            changes: Further attributes to replace.

        Raises:
            DataError: All images are in one group, or no key names one.
        """
        if not any(known):
            raise DataError(f"{option} must name the group of some images, but names none: correct it, or leave it out")
        if len(set(keys)) == 1 < len(keys):
            rule = "images must be in at least two groups, so that some can be kept for a test"
            raise DataError(f"{rule}, but {option} puts all {len(keys)} in one: correct it, or leave it out")
        return replace(self, groups=numbered(keys), has_patient=known, patients=(), **changes)

    def read(self, index: int) -> bytes:
        """Return the encoded file of one image."""
        return self.read_bytes(index)

    def read_all(self) -> tuple[Self, list[str]]:
        """Read every file once.

        Returns:
            The source with ``unreadable``, which raises ChangedFileError when it reads a file that has changed since.
            And the SHA-256 of each image file, followed by that of its mask if there are masks. An unreadable or
            missing file gets the digest of empty bytes.

        Raises:
            MissingPackageError: A package that reads an image is not installed.
        """
        unreadable = dict(self.unreadable)
        digests = [self._digests(index, unreadable) for index in range(len(self))]
        checked = replace(
            self,
            unreadable=unreadable,
            read_bytes=_unchanged(self.read_bytes, [parts[0] for parts in digests], self.names, unreadable),
            masks=self.masks
            and replace(
                self.masks,
                read_bytes=_unchanged(self.masks.read_bytes, [parts[1] for parts in digests], self.names, unreadable),
            ),
        )
        return checked, ["".join(parts) for parts in digests]

    def _digests(self, index: int, unreadable: dict[int, str]) -> list[str]:
        readers: list[Callable[[int], bytes | None]] = (
            [self.read] if self.masks is None else [self.read, self.masks.read_bytes]
        )
        digests = []
        for read in readers:
            try:
                content = b"" if index in self.unreadable else read(index) or b""
            except MissingPackageError:
                raise
            except DataError as error:
                content = b""
                unreadable[index] = str(error)
            except OSError as error:
                content = b""
                unreadable[index] = f"cannot be read: {error.strerror}" if error.strerror else first_line(error)
            digests.append(hashlib.sha256(content).hexdigest())
        return digests


def _unchanged(
    read_bytes: Callable[[int], _Content], digests: Sequence[str], names: Sequence[str], unreadable: Container[int]
) -> Callable[[int], _Content]:
    """Return a reader that refuses files whose SHA-256 is no longer the one in ``digests``, but for unreadable ones."""

    def read(index: int) -> _Content:
        content = read_bytes(index)
        if index not in unreadable and hashlib.sha256(content or b"").hexdigest() != digests[index]:
            raise ChangedFileError(f"{names[index]} changed while the data set was read: wait until it is complete")
        return content

    return read


def numbered(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return (N,) numbers that are equal where the keys are equal."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def images_fingerprint(digests: Iterable[str]) -> str:
    """Return the SHA-256 over a set of images, whatever their order, their labels and their masks.

    Args:
        digests: Digests of ``Source.read_all``.
    """
    return hashlib.sha256("\n".join(sorted({digest[:_HEX_DIGITS] for digest in digests})).encode()).hexdigest()


def source_fingerprint(source: Source, digests: Sequence[str]) -> str:
    """Return the SHA-256 over all images and masks (by their digests), labels and published splits.

    Groups are left out: a node that opens the data again does not know them.
    """
    digest = hashlib.sha256(json.dumps([source.class_names, list(digests)]).encode())
    digest.update(np.ascontiguousarray(source.labels, dtype="<i8").tobytes())
    digest.update("\n".join(source.published.tolist()).encode())
    return digest.hexdigest()
