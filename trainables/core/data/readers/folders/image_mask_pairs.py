"""Images with masks: folders ``images/`` and ``masks/``, or torchvision's Oxford-IIIT Pet layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.core.data.readers.dicom_tags import read_folder_tags
from trainables.core.data.readers.folders.mask_signs import MASK_NAME
from trainables.core.data.readers.image_files import files_below, is_image, unread_files
from trainables.core.data.readers.name_keys import name_key
from trainables.core.data.readers.tables.split_columns import check_every_split, folder_splits
from trainables.core.data.readers.untrusted_files import check_within, printable, read_file
from trainables.core.data.source import MaskFormat, Masks, Source, numbered
from trainables.core.errors import DataError

_PETS = "oxford-iiit-pet"
# Trimaps have pet, background and a border of a few pixels between them. The border counts as pet, as in the published
# example of segmentation_models_pytorch.
_TRIMAP = MaskFormat(("pet",), {1: 1, 2: 0, 3: 1})


def open_pairs(root: Path) -> Source | None:
    """Open a folder of images with masks; return None for any other layout.

    Raises:
        DataError: A file that the layout requires is missing.
    """
    for pets in (root, root / _PETS):
        if (pets / "annotations" / "trimaps").is_dir():
            return _from_pets(pets)
    return _from_folders(root) if (root / "images").is_dir() and (root / "masks").is_dir() else None


def _from_folders(root: Path) -> Source:
    """Pair files of the same name below ``images/`` and ``masks/``, whatever their suffixes.

    Folders of several splits in ``images/``, such as ``train`` and ``test``, give the published splits.
    """
    images, masks = (_by_name(root / folder) for folder in ("images", "masks"))
    unpaired = sorted(masks.keys() - images.keys())
    if unpaired:
        mask = masks[unpaired[0]]
        found = MASK_NAME.fullmatch(mask.stem)
        hint = f": rename it to {found['image']}{mask.suffix}, like its image" if found else ""
        raise DataError(
            f"every mask needs an image of the same name, but {len(unpaired)} of {len(masks)} masks in {root} have "
            f"none, such as {printable(str(mask.relative_to(root)))}{hint}"
        )
    names = sorted(images, key=lambda name: str(images[name].with_suffix("")))
    files, paired = [images[name] for name in names], [masks.get(name) for name in names]
    below = [file.relative_to(root / "images") for file in files]
    published = folder_splits(below)
    what = f"the folder of each image in {root / 'images'}"
    check_every_split(dict(zip(map(str, below), published, strict=True)), what, "move it and its mask")
    return _source(root, files, paired, published, None)


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images below a folder, by the ``name_key`` of their paths without suffix.

    Raises:
        DataError: Two of them have the same key.
    """
    found: dict[str, Path] = {}
    for file in sorted(files_below(folder)):
        if is_image(file.relative_to(folder)):
            name = name_key(str(file.relative_to(folder).with_suffix("")))
            if name in found:
                raise DataError(
                    "file names must differ in more than the suffix, case, spaces or the encoding of accents, but "
                    f"{printable(str(found[name]))} and {printable(str(file))} do not: rename one of them"
                )
            found[name] = file
    return found


def _from_pets(root: Path) -> Source:
    names, published = [], []
    for file, split in (("trainval.txt", "train"), ("test.txt", "test")):
        listed = root / "annotations" / file
        if not listed.is_file():
            raise DataError(f"the Oxford-IIIT Pet layout needs {listed.relative_to(root)}, but {root} has no such file")
        lines = [line.split()[0] for line in listed.read_text().splitlines() if line.strip() and line[0] != "#"]
        names += lines
        published += [split] * len(lines)
    files = [root / "images" / f"{name}.jpg" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(f"every listed image must exist, but {missing[0]} does not ({len(missing)} are missing)")
    masks = [root / "annotations" / "trimaps" / f"{name}.png" for name in names]
    return _source(root, files, [mask if mask.is_file() else None for mask in masks], published, _TRIMAP)


def _source(
    root: Path,
    files: Sequence[Path],
    masks: Sequence[Path | None],
    published: Sequence[str],
    mask_format: MaskFormat | None,
) -> Source:
    def read(file: Path) -> bytes:
        check_within(root, file)
        return read_file(file)

    def read_mask(index: int) -> bytes | None:
        mask = masks[index]
        return read(mask) if mask else None

    tags = read_folder_tags(files)
    of_splits = ("the folders or lists of the images give the published splits",) if any(published) else ()
    return Source(
        class_names=("images",),
        labels=np.zeros(len(files), dtype=np.int64),
        published=np.array(published, dtype=np.str_),
        groups=numbered([patient or file for patient, file in zip(tags.patients, files, strict=True)]),
        names=[printable(str(file.relative_to(root))) for file in files],
        read_bytes=lambda index: read(files[index]),
        has_patient=list(map(bool, tags.patients)),
        files=[file.name for file in files],
        masks=Masks(read_mask, mask_format),
        unread=unread_files(root, {*files, *filter(None, masks)}),
        metadata=tags.metadata,
        notes=(*of_splits, *tags.notes),
        patients=tags.patients,
    )
