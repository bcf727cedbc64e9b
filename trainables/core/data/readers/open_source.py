"""Where images come from: a hub data set, the same layout as local parquet, class folders, pairs, embedded phantoms.

A source is a function from a place to ``Source``. ``open_source`` picks it by what the place is.
"""

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.core.data.readers.class_folders import open_class_folders
from trainables.core.data.readers.image_mask_pairs import open_pairs
from trainables.core.data.readers.object_store import local_copy
from trainables.core.data.readers.parquet import open_hub, open_parquet
from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.data.source import Source, numbered
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store

PHANTOMS = "phantoms"
_LONGEST_NAME = 200  # MLflow's metrics, which are called after classes, have 250


def open_source(
    place: str, group_column: str | None = None, group_pattern: str | None = None, store: Store | None = None
) -> Source:
    """Opens a data set.

    Args:
        place: ``phantoms``; a folder with parquet files in the hub's layout, with class folders (with or without
            ``train/ val/ test/`` above them), or with images and masks (``open_pairs``); the URI of such a folder,
            ``s3://...``; or the name of a hub data set, ``owner/name``.
        group_column: A column of parquet and hub data sets; rows of equal value are one group, a null is none.
        group_pattern: A regular expression that is sought in each file's name: where its groups (without any: where
            the whole match) are equal, images are one group; an image in whose name it is not found has its own.
        store: Where a copy of what lies at a URI is kept; None for the node's default.

    Raises:
        DataError: There is nothing to open there, or not what a classification needs.
    """
    if place == PHANTOMS:
        source = _phantoms()
    elif "://" in place or Path(place).is_dir():
        kept = store or Store(default_store())
        source = _from_folder(local_copy(place, kept) if "://" in place else Path(place), group_column)
    elif Path(place).exists() or place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise DataError(f"a data set is a folder, a name on the hub (owner/name) or {PHANTOMS!r}, but got {place!r}")
    else:
        source = open_hub(place, group_column)
    if group_column is not None and not source.told:
        raise DataError(f"--group-column needs parquet files or a hub data set, but {place} is neither")
    return _checked(source if group_pattern is None else grouped_by_name(source, group_pattern, place), place)


def _from_folder(root: Path, group_column: str | None) -> Source:
    pairs = open_pairs(root)
    if pairs is not None:
        return pairs
    parquet = sorted(file for file in root.rglob("*.parquet") if file.is_file())
    return open_parquet(root, parquet, group_column) if parquet else open_class_folders(root)


def _checked(source: Source, place: str) -> Source:
    if len(source) == 0:
        raise DataError(f"{place} has no images: class folders or hub-layout parquet files are expected there")
    if len(source.class_names) < 2 and source.masks is None:
        raise DataError(f"at least two classes are needed, but {place} has {len(source.class_names)}")
    for name in source.class_names:
        if printable(name) != name or not 0 < len(name) <= _LONGEST_NAME:
            rule = f"class names must be printable text of at most {_LONGEST_NAME} characters"
            raise DataError(f"{rule}, but {place} has {printable(name)[:_LONGEST_NAME]!r}: rename it")
    if len(set(source.class_names)) < len(source.class_names):
        raise DataError(f"class names must differ, but {place} has {', '.join(source.class_names)}")
    return source


def grouped_by_name(source: Source, pattern: str, place: str) -> Source:
    """The source with the groups that ``open_source`` would take from its files' names.

    Raises:
        DataError: The pattern is no regular expression, or in no name.
    """
    try:
        sought = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-pattern must be a regular expression, but {pattern!r} is none: {error}") from error
    found = [sought.search(file) for file in source.files]
    if not any(found):
        shown = next(iter(source.files), "") or "the images have none"
        raise DataError(f"--group-pattern must be found in file names, but {pattern!r} is in none of {place} ({shown})")
    keys = [(match.groups() or match.group()) if match else index for index, match in enumerate(found)]
    return dataclasses.replace(source, groups=numbered(keys), told=True)


def _phantoms() -> Source:
    phantoms = make_phantoms()

    def png(index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(phantoms.images[index]).save(buffer, format="PNG")
        return buffer.getvalue()

    count = len(phantoms.labels)
    return Source(
        class_names=phantoms.class_names,
        labels=phantoms.labels,
        published=np.full(count, ""),
        groups=phantoms.subjects,
        names=[f"phantom {index}" for index in range(count)],
        read_bytes=png,
        told=True,
        synthetic=True,
    )
