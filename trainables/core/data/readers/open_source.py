"""Opening of data sets: hub data sets, parquet, class folders, image-mask pairs, tables of labels and phantoms."""

import re
from pathlib import Path

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.readers.folders.class_folders import open_class_folders
from trainables.core.data.readers.folders.image_mask_pairs import open_pairs
from trainables.core.data.readers.image_files import find_parquet
from trainables.core.data.readers.name_keys import class_name_key
from trainables.core.data.readers.object_store import check_uri, local_copy
from trainables.core.data.readers.parquet.parquet_files import hub_folder, open_hub, open_parquet
from trainables.core.data.readers.patient_names import names_patient
from trainables.core.data.readers.phantoms import open_phantoms
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.readers.tables.label_table import open_table
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.data.source import Source
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store

PHANTOMS = "phantoms"
_LONGEST_NAME = 200  # MLflow limits metric names, which contain class names, to 250


def open_source(
    place: str,
    group_column: str | None = None,
    group_pattern: str | None = None,
    store: Store | None = None,
    table: LabelTable | None = None,
    slicing: Slicing | None = None,
) -> Source:
    """Open a data set.

    Args:
        place: ``phantoms``; a folder with parquet files in the hub's layout, with class folders (optionally below
            ``train/ val/ test/``), or with images and masks (``open_pairs``); the URI of such a folder, ``s3://...``;
            or the name of a hub data set, ``owner/name`` or ``owner/name@commit``.
        group_column: Column of parquet and hub data sets. Rows with equal values are one group; a null has no group.
        group_pattern: Regular expression searched in each file name or, if it matches none, in each path. Images with
            equal capture groups (without any: equal matches) are one group. An image whose name does not match has no
            group.
        store: Cache for a copy of data at a URI; None for the node's default.
        table: Table of labels of the images in the folder; None if the layout gives the labels.
        slicing: Slices to take from NIfTI volumes; None for the default.

    Raises:
        DataError: There is nothing to open, or it is not suitable.
    """
    if table is not None and not ("://" in place or Path(place).is_dir()):
        raise DataError(f"--labels needs a folder of images as the data set, but got {place}")
    if place == PHANTOMS:
        source = open_phantoms()
    elif "://" in place or Path(place).is_dir():
        cache = store or Store(default_store())
        folder = local_copy(place, cache) if "://" in place else Path(place)
        source = _from_folder(folder, group_column, slicing) if table is None else open_table(folder, table, slicing)
    else:
        _check_hub_name(place)
        source = open_hub(place, group_column)
    if group_column is not None and not source.groups_given:
        raise DataError(f"--group-column needs --labels, parquet files or a hub data set, but {place} is neither")
    return _checked(source if group_pattern is None else grouped_by_name(source, group_pattern, place), place)


def checked_place(place: str) -> str:
    """Check that there is a data set at a place, before anything else is read or fetched.

    Returns:
        The place. That of a hub data set names the commit of the newest version, so that workers need not ask the hub.

    Raises:
        DataError: There is nothing.
    """
    if place == PHANTOMS or Path(place).is_dir():
        return place
    if "://" in place:
        check_uri(place)
        return place
    _check_hub_name(place)
    return f"{place.partition('@')[0]}@{hub_folder(place).name}"


def _check_hub_name(place: str) -> None:
    if Path(place).exists() or place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise DataError(
            "the data set must be a folder, an s3:// or gs:// address, owner/name on the Hugging Face Hub, or "
            f"{PHANTOMS}, but got {place!r}"
        )


def _from_folder(root: Path, group_column: str | None, slicing: Slicing | None) -> Source:
    parquet = find_parquet(root)
    pairs = open_pairs(root)
    if pairs is not None:
        return pairs
    return open_parquet(root, parquet, group_column) if parquet else open_class_folders(root, slicing)


def _checked(source: Source, place: str) -> Source:
    if len(source) == 0:
        raise DataError(f"{place} has no images: expected class folders or parquet files in the hub's layout")
    for name in source.class_names:
        if printable(name) != name or not 0 < len(name) <= _LONGEST_NAME:
            rule = f"class names must be printable and have at most {_LONGEST_NAME} characters"
            raise DataError(f"{rule}, but {place} has {printable(name)[:_LONGEST_NAME]!r}: rename it")
    by_key: dict[str, str] = {}
    for name in source.class_names:
        key = class_name_key(name)
        if key in by_key:
            rule = (
                "class names must differ in more than case, look-alike letters, spaces, hyphens, zeros or the encoding "
                "of accents"
            )
            raise DataError(f"{rule}, but {place} has {by_key[key]!r} and {name!r}: rename one of them")
        by_key[key] = name
    return source


def check_classes(source: Source, place: str) -> None:
    """Raise DataError if there are fewer than two classes, so that there is nothing to tell apart."""
    if len(source.class_names) < 2 and source.masks is None:
        raise DataError(f"a classification needs at least two classes, but {place} has {len(source.class_names)}")


def grouped_by_name(source: Source, pattern: str, place: str) -> Source:
    """Return the source with groups from its file names, as described in ``open_source``.

    Raises:
        DataError: The pattern is not a regular expression, or matches no name.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-pattern must be a regular expression, but got {pattern!r}: {error}") from error
    found = [regex.search(file) for file in source.files]
    if not any(found):
        found = [regex.search(name) for name in source.names]
    if not any(found):
        example = next(iter(source.files), "") or "they have no names"
        raise DataError(f"--group-pattern must match file names, but {pattern!r} matches none in {place} ({example})")
    keys = [(match.groups() or (match.group(),)) if match else ("",) for match in found]
    known = [any(map(names_patient, key)) for key in keys]
    own = [key if is_known else (index,) for index, (key, is_known) in enumerate(zip(keys, known, strict=True))]
    return source.grouped_by(own, known, f"--group-pattern {pattern!r}")
