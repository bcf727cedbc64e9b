"""Class folders, optionally below folders of splits."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.readers.folders.layout_checks import check_class_folders
from trainables.core.data.readers.folders.mask_signs import check_no_twins, describe_derived
from trainables.core.data.readers.image_entries import files_or_patients, list_images
from trainables.core.data.readers.image_files import describe_unread, is_left_out, unread_files
from trainables.core.data.readers.untrusted_files import listed, printable
from trainables.core.data.source import SPLIT_NAMES, Source
from trainables.core.errors import DataError
from trainables.core.plural import plural


def open_class_folders(root: Path, slicing: Slicing | None = None) -> Source:
    """Open a folder of class folders, or of folders named after splits (``SPLIT_NAMES``) that contain class folders."""
    splits = {child.name: alias for child in _folders(root) if (alias := SPLIT_NAMES.get(child.name.lower()))}
    images = list_images(root, slicing)
    # (split, class, ...) or (class, ...). An image elsewhere has no label and is refused or skipped by name.
    places = [
        (splits.get(parts[0], ""), parts[1:] if splits else parts) for parts in (file.parts for file in images.files)
    ]
    labelled = [place[0] if len(place) > 1 and (split or not splits) else None for split, place in places]
    # A class folder without images still counts as a class, so that it is refused rather than silently dropped.
    parents = [root / name for name in splits] or [root]
    class_names = tuple(sorted({child.name for parent in parents for child in _folders(parent)}))
    check_class_folders(root, list(splits), class_names, [parts for _, parts in places if parts])
    check_no_twins(root, images.files)
    number = {name: index for index, name in enumerate(class_names)}
    unlabelled = [name for name, label in zip(images.names, labelled, strict=True) if label is None]
    has_patient = files_or_patients(images.has_patient, images.frames)
    folders = [] if any(has_patient) else _describe_subfolders([parts for _, parts in places])
    for name in set(class_names).difference(filter(None, labelled)):
        unread = sum((unread_files(parent / name) for parent in parents if (parent / name).is_dir()), Counter())
        if any((parent / name).is_symlink() for parent in parents):
            raise DataError(
                f"class {name!r} in {root} has no images: links to folders are not followed; move them here"
            )
        if unread:
            raise DataError(f"class {name!r} in {root} has no images: {describe_unread(unread)}")

    return Source(
        class_names=class_names,
        labels=np.array([-1 if name is None else number[name] for name in labelled], dtype=np.int64),
        published=np.array([split for split, _ in places], dtype=np.str_),
        groups=images.groups,
        names=images.names,
        read_bytes=images.read,
        has_patient=has_patient,
        files=[file.name for file in images.files],
        unread=unread_files(root, {root / file for file in images.files}),
        metadata=images.metadata,
        notes=(*images.notes, *folders, *describe_derived(images.files), *_describe_unlabelled(unlabelled)),
        slicing=images.slicing,
        patients=images.patients,
    )


def _describe_subfolders(places: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a note on folders within the classes, since they are often patients."""
    found = sorted({parts[:-1] for parts in places if len(parts) > 2})
    if len(found) < 2:
        return []
    example = printable("/".join(found[0]))
    return [f"{len(found)} folders lie within the classes, such as {example}: --group-pattern can make them groups"]


def _describe_unlabelled(names: Sequence[str]) -> list[str]:
    """Return a note on images outside the class folders."""
    if not names:
        return []
    return [f"{plural(len(names), 'image')} in no class folder, and so without a label ({listed(names)})"]


def _folders(parent: Path) -> list[Path]:
    return sorted(child for child in parent.iterdir() if child.is_dir() and not is_left_out(child))
