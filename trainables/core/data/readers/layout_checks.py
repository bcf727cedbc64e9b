"""Signs that folders are not what they are taken for: masks among the classes, or several data sets side by side."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError

_IMAGES = frozenset({"image", "images", "imagestr", "imagests", "img", "imgs"})
_MASKS = frozenset({"annotations", "groundtruth", "labels", "labelstr", "labelsts", "mask", "masks", "segmentations"})
_MASK_NAME = re.compile(r"(?P<image>.+)[ _-](mask|seg|segmentation)([ _-]?\d+)?", re.IGNORECASE)


def check_class_folders(root: Path, class_names: Sequence[str], places: Sequence[tuple[str, ...]]) -> None:
    """Raise DataError if class folders hold masks, or data sets instead of classes.

    Args:
        root: Folder of the data set.
        class_names: Names of the class folders.
        places: Parts of each image's path, from its class folder to its file name.
    """
    kinds = {name.lower() for name in class_names}
    if kinds & _MASKS and kinds <= _IMAGES | _MASKS:
        raise DataError(
            f"{root} looks like images with masks, not like classes ({', '.join(class_names)}): name the two folders "
            "images and masks, without folders of splits above them"
        )
    _check_subfolders(root, class_names, places)
    _check_mask_names(root, places)


def _check_subfolders(root: Path, class_names: Sequence[str], places: Sequence[tuple[str, ...]]) -> None:
    by_class: dict[str, set[str]] = {name: set() for name in class_names}
    for parts in places:
        if len(parts) > 1 and parts[0] in by_class:
            by_class[parts[0]].add(parts[1] if len(parts) > 2 else "")
    first, *others = by_class.values() or [set()]
    masks = sorted(name for name in first if name.lower() in _MASKS)
    if masks and all(masks[0] in other for other in others):
        raise DataError(f"every class folder in {root} has a subfolder {masks[0]}: move the masks out of the data set")
    if others and len(first) > 1 and "" not in first and all(other == first for other in others):
        raise DataError(
            f"every class folder in {root} ({', '.join(class_names[:3])}, ...) has the same subfolders "
            f"({', '.join(sorted(first)[:3])}, ...), so they look like several data sets: pass one of them as --data, "
            "or move the images directly into the class folders"
        )


def _check_mask_names(root: Path, places: Sequence[tuple[str, ...]]) -> None:
    stems = {(*parts[:-1], Path(parts[-1]).stem) for parts in places}
    for *folder, stem in sorted(stems):
        found = _MASK_NAME.fullmatch(stem)
        if found and (*folder, found["image"]) in stems:
            raise DataError(
                f"{Path(root, *folder)} has both {found['image']!r} and its mask {stem!r}: move the masks out of the "
                "class folders"
            )


def check_one_configuration(root: Path, files: Sequence[Path]) -> None:
    """Raise DataError if parquet files lie in several folders, as those of several hub configurations do."""
    folders = {file.parent.parent if file.parent.name.lower() in SPLIT_NAMES else file.parent for file in files}
    if len(folders) > 1:
        names = sorted(str(folder.relative_to(root)) for folder in folders)
        raise DataError(
            f"the parquet files in {root} lie in several folders ({', '.join(names[:3])}), which look like several "
            "configurations of one data set: pass one folder as --data"
        )
