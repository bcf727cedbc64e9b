"""Signs that images are masks or copies of other images, which would become cases of a classification."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from trainables.core.data.readers.image_files import without_suffix
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import DataError

# Names of folders, as ``joined`` spells them.
IMAGES = frozenset({"image", "images", "imagestr", "imagests", "img", "imgs", "jpegimages"})
MASKS = frozenset(
    [
        *("annotations", "groundtruth", "groundtruths", "gt", "labels", "labelstr", "labelsts", "mask", "masks", "msk"),
        *("segmentation", "segmentationclass", "segmentationobject", "segmentations"),
    ]
)
# Names of masks that are never classes: `mask` is one in data sets of faces, `labels` in those of documents.
_ONLY_MASKS = MASKS - {"annotations", "gt", "labels", "labelstr", "labelsts", "mask", "msk", "segmentation"}
_SHOWN = 5
_FEWEST_TWINS, _TWINS_SHARE = 5, 0.25
_MASK_WORD = (
    r"(mask|msk|lbl|annot|seg|segmentation|gt|ground[ _-]?truth|annotation|contour|label|overlay|roi|"
    r"heat[ _-]?map|(grad[ _-]?|score[ _-]?)?cam|saliency|attention|pred|prediction|bbox|bounding[ _-]?box)s?"
)
_IMAGE_WORD = (
    r"(image|img|im|scan|slice|frame|photo|picture|x[ _-]?ray|cxr|raw|orig|original|input|"
    r"flair|t1|t1w|t1c|t1ce|t1gd|t2|t2w|dwi|adc|ct|mr|mri|pet|oct|us)"
)
# A separator, or the capital that begins the last word of `scanMask`.
_LAST_WORD = r"([ ._-]|(?-i:(?<=[a-z\d])(?=[A-Z])))"
MASK_NAME = re.compile(rf"(?P<image>.+){_LAST_WORD}{_MASK_WORD}([ _-]?\d+)?", re.IGNORECASE)
_MASK_PREFIX = re.compile(rf"{_MASK_WORD}[ _-]?(?P<image>[^a-z].*|(?<=[ _-]).+)", re.IGNORECASE)
_IMAGE_NAME = re.compile(rf"(?P<image>.+){_LAST_WORD}{_IMAGE_WORD}([ _-]?\d+)?", re.IGNORECASE)
_IMAGE_PREFIX = re.compile(rf"{_IMAGE_WORD}[ _-]?(?P<image>.+)", re.IGNORECASE)


def joined(name: str) -> str:
    """Return a name in lower case without spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", name.lower())


def shown(names: Sequence[str]) -> str:
    """Return at most five names of untrusted files in one line."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN])) + more


def check_mask_folders(root: Path, subfolders: dict[str, set[str]]) -> None:
    """Raise DataError for folders of masks among the classes, or within one.

    Args:
        root: Folder of the data set.
        subfolders: Names of the folders in each class folder; "" for images directly in it.
    """
    for name, below in subfolders.items():
        masks = sorted(folder for folder in below if joined(folder) in MASKS)
        if masks:
            raise DataError(f"{name} in {root} has a subfolder {masks[0]}: move the masks out of the data set")
        found = MASK_NAME.fullmatch(name)
        if joined(name) in _ONLY_MASKS or (found and found["image"] in subfolders):
            raise DataError(f"{root} has a folder {name} among its classes: move the masks out of the data set")


def check_mask_names(root: Path, places: Sequence[tuple[str, ...]]) -> None:
    """Raise DataError for an image beside its mask: ``1`` or ``1_image`` beside ``1_mask``, ``img_1`` beside ``mask1``.

    Args:
        root: Folder of the data set.
        places: Parts of each image's path.
    """
    if found := _image_and_mask(places):
        folder, image, mask = found
        raise DataError(
            f"{root / folder} has both {image!r} and its mask {mask!r}: move the masks out of the class folders"
        )


def describe_masks(files: Sequence[Path]) -> list[str]:
    """Return a note if some images to predict are masks by their names, or by the names of their folders."""
    folders = sorted({file.parent.name for file in files if joined(file.parent.name) in _ONLY_MASKS})
    found = _image_and_mask([file.parts for file in files])
    example = f"{found[2]!r} beside {found[1]!r}" if found else f"in folder {printable(folders[0])}" if folders else ""
    return [f"masks seem to be among the images, and are scored like them ({example})"] if example else []


def _image_and_mask(places: Sequence[tuple[str, ...]]) -> tuple[Path, str, str] | None:
    """Return the folder and the names of the first image that has a mask beside it."""
    stems = {(*parts[:-1], without_suffix(parts[-1])) for parts in places}
    prefixed_images, suffixed_images = (
        {(*folder, found["image"]): stem for *folder, stem in stems if (found := pattern.fullmatch(stem))}
        for pattern in (_IMAGE_PREFIX, _IMAGE_NAME)
    )
    for *folder, stem in sorted(stems):
        if suffixed := MASK_NAME.fullmatch(stem):
            key = (*folder, suffixed["image"])
            if image := suffixed["image"] if key in stems else suffixed_images.get(key):
                return Path(*folder), image, stem
        if prefixed := _MASK_PREFIX.fullmatch(stem):
            key = (*folder, prefixed["image"])
            if image := prefixed["image"] if key in stems else prefixed_images.get(key):
                return Path(*folder), image, stem
    return None


def check_no_twins(root: Path, files: Sequence[Path]) -> None:
    """Raise DataError if all files of a suffix are named like files of another one, as masks or copies of these.

    Args:
        root: Folder of the data set.
        files: Paths of the images below it.
    """
    names: dict[Path, dict[str, set[str]]] = {}
    for file in files:
        stem = without_suffix(file.name)
        suffix = file.name[len(stem) :]
        if suffix and not suffix[1:].isdigit():  # the last number of a UID is no suffix
            names.setdefault(file.parent, {}).setdefault(suffix, set()).add(stem)
    for folder, of_suffix in names.items():
        for suffix, other in permutations(of_suffix, 2):
            twins = of_suffix[suffix]
            if len(twins) >= _FEWEST_TWINS and twins <= of_suffix[other]:
                name = printable(min(twins))
                raise DataError(
                    f"all {len(twins)} {suffix} files in {root / folder} are named like {other} files ({name}{suffix}, "
                    f"{name}{other}), as if they were their masks or copies: move them out of the data set, or rename "
                    "them"
                )


def describe_derived(files: Sequence[Path]) -> list[str]:
    """Return a note if many images are named like another one in their folder with the same word added, like ``1_m``.

    Numbers do not count: ``1_2`` may be another slice of the patient of ``1``.
    """
    stems = {file.with_name(without_suffix(file.name)) for file in files}
    added = Counter[str]()
    for stem in stems:
        found = re.fullmatch(r"(.+?)([ ._-]+[^\W\d_][^ ._-]*)", stem.name)
        if found and stem.with_name(found[1]) in stems:
            added[found[2]] += 1
    word, count = next(iter(added.most_common(1)), ("", 0))
    if count < max(_FEWEST_TWINS, _TWINS_SHARE * len(stems)):
        return []
    return [
        f"{count} images are named like another one with {printable(word)!r} added: if they are its mask or its copy, "
        "move them out of the data set"
    ]
