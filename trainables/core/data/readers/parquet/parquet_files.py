"""Parquet files in the hub's layout (``image: {bytes, path}``, ``label``), and hub data sets."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables.core.data.fact import Fact
from trainables.core.data.readers.image_files import unread_files
from trainables.core.data.readers.parquet.file_set import check_one_configuration, check_shards
from trainables.core.data.readers.parquet.image_column import (
    bytes_of,
    check_image_column,
    encoded_bytes,
    file_names,
    kind_of_rest,
)
from trainables.core.data.readers.parquet.label_column import is_text, numbered_classes, text_labels
from trainables.core.data.readers.parquet.other_columns import (
    columns_of,
    patient_column,
    split_column,
)
from trainables.core.data.readers.patient_names import (
    check_patients,
    describe_alike,
    names_patient,
)
from trainables.core.data.readers.tables.split_columns import check_every_split
from trainables.core.data.readers.untrusted_files import check_within
from trainables.core.data.source import SPLIT_NAMES, Source, numbered
from trainables.core.errors import DataError, describe, first_line
from trainables.core.hub.downloads import dataset_snapshot
from trainables.core.hub.failures import HubError

_ROWS = 1000


def open_parquet(root: Path, files: list[Path], group_column: str | None) -> Source:
    """Open parquet files below ``root``. A file's name, or that of its folder, gives the split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_one_configuration(root, files)
    parts, named = [], {}
    for file, split in zip(files, splits_of(files), strict=True):
        try:
            check_within(root, file)
            table = pq.ParquetFile(file).read()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{file} is not a readable parquet file: {first_line(error)}") from error
        if len(table):  # a filter may leave empty files, whose columns have no type
            check_table(table, str(file), group_column)
            parts.append((split, table))
            named[str(file.relative_to(root))] = split
    if not parts:
        raise DataError(f"{root} has no images: its {len(files)} parquet files have no rows")
    what, remedy = f"the name of each parquet file in {root}", "rename it, or move it out of the data set"
    check_every_split(named, what, remedy)
    check_shards(root, files)
    source = _from_tables(parts, str(files[0].parent), group_column)
    return replace(source, unread=unread_files(root, files))


def splits_of(files: Sequence[Path]) -> list[str]:
    """Return the split that each parquet file or its folder is named after, or "" for neither.

    A name begins with its split, as ``train-00000-of-00001.parquet`` or ``train_0.parquet``, or that of the folder is
    the split, as in data sets that the hub converted: ``test/0000.parquet``. Of files of several splits, names may also
    have it elsewhere: ``brains_train.parquet`` beside ``brains_test.parquet``.
    """
    words = [[word.lower() for word in re.split(r"[-_. ]", file.stem)] for file in files]
    named = [{SPLIT_NAMES[word] for word in of_file if word in SPLIT_NAMES} for of_file in words]
    hints = [(of_file[0], file.parent.name.lower()) for of_file, file in zip(words, files, strict=True)]
    firsts = [next((SPLIT_NAMES[hint] for hint in pair if hint in SPLIT_NAMES), "") for pair in hints]
    splits = [
        first or (min(of_file) if len(of_file) == 1 else "") for first, of_file in zip(firsts, named, strict=True)
    ]
    return splits if len({*splits} - {""}) > 1 else firsts


def open_hub(place: str, group_column: str | None) -> Source:
    """Open a hub data set, ``owner/name`` or ``owner/name@commit``.

    Raises:
        DataError: It cannot be downloaded or read, or some of its files are missing.
    """
    folder = hub_folder(place)
    import datasets
    import pyarrow as pa

    try:
        # Streaming reads the files in place. Otherwise the library would write a second copy, without a digest.
        with tempfile.TemporaryDirectory() as cache:
            splits = datasets.load_dataset(str(folder), streaming=True, cache_dir=cache)
            # with_format("arrow") returns the stored bytes. The default would decode each image.
            tables = {split: list(part.with_format("arrow").iter(_ROWS)) for split, part in splits.items()}
    except Exception as error:  # the library raises many types
        raise DataError(
            f"the hub data set {place} must have readable Parquet files, but: {describe(error)}; download it in one of "
            "the other layouts and pass its folder as the data set"
        ) from error
    parts = []
    named = dict(zip(tables, splits_of([Path(f"{split}.parquet") for split in tables]), strict=True))
    for split, batches in tables.items():
        rows, stated = sum(map(len, batches)), (splits[split].info.splits or {}).get(split)
        if stated is not None and stated.num_examples not in (None, rows):
            raise DataError(
                f"the hub data set {place} must have {stated.num_examples} rows in {split}, as its README says, but "
                f"has {rows}: delete {folder} and run again"
            )
        if batches:
            parts.append((named[split], pa.concat_tables(batches)))
            check_table(parts[-1][1], place, group_column)
    if not parts:
        raise DataError(f"the hub data set {place} has no images: its Parquet files have no rows")
    what = f"the name of each part of the hub data set {place}"
    remedy = "download it, rename or remove the files of that part, and pass the folder as the data set"
    check_every_split({split: named[split] for split, batches in tables.items() if batches}, what, remedy)
    return _from_tables(parts, place, group_column)


def hub_folder(place: str) -> Path:
    """Return the folder of a hub data set in the hub's cache, downloaded if necessary. Its name is the commit.

    Raises:
        DataError: It cannot be downloaded, and the cache does not have it.
    """
    name, _, commit = place.partition("@")
    try:
        return dataset_snapshot(name, commit or None)
    except HubError as error:
        remedy = "or download it on a machine with network access and pass its folder as the data set"
        rule = f"there is no folder {place}, and the hub data set of this name could not be loaded"
        raise DataError(f"{rule}: {error}; {remedy}") from error


def _from_tables(parts: list[tuple[str, Any]], place: str, group_column: str | None) -> Source:
    """Read Arrow tables with an ``image`` struct of ``bytes`` and a ``label``, as the hub stores them."""
    tables = [table for _, table in parts]
    labels, class_names = text_labels(tables, place) or numbered_classes(tables, place)
    metadata = columns_of(tables, group_column, place)
    recognised, notes, unclear = (None, [], "") if group_column else patient_column(metadata, place)
    notes += [Fact(f"column of the parquet files: group = {recognised}")] if recognised else []
    groups, known = np.arange(len(labels)), list[bool]()
    if group_column is not None:
        check_patients(group_column, metadata[group_column])
    group_column = group_column or recognised
    if group_column is not None:
        values = metadata.pop(group_column)
        known = list(map(names_patient, values))
        groups = numbered([value if known[index] else (index,) for index, value in enumerate(values)])
        notes += describe_alike(group_column, values)
    published = [split for split, table in parts for _ in range(len(table))]
    split_from = split_column(metadata, published, place)
    if split_from is not None:
        published = [SPLIT_NAMES.get(value.lower(), "") for value in metadata.pop(split_from)]
        notes.append(Fact(f"column of the parquet files: split = {split_from}"))
    images = [cell for _, table in parts for chunk in table.column("image").chunks for cell in chunk]
    return Source(
        class_names=class_names,
        labels=labels,
        published=np.array(published, dtype="<U5"),
        groups=groups,
        names=_row_names(parts, place),
        read_bytes=lambda index: encoded_bytes(images[index]),
        has_patient=known,
        unclear_groups=unclear,
        files=file_names(tables),
        metadata=metadata,
        notes=tuple(notes),
    )


def _row_names(parts: Sequence[tuple[str, Any]], place: str) -> list[str]:
    """Return a unique name for each row. Numbering continues over the files of a split."""
    counts = Counter[str]()
    names = []
    for split, table in parts:
        start = counts[split]
        names += [f"{split or place} row {row}" for row in range(start, start + len(table))]
        counts[split] += len(table)
    return names


def check_table(table: Any, place: str, group_column: str | None) -> None:
    """Raise DataError if a table does not hold images with labels.

    Args:
        table: Arrow table.
        place: Its file, or the name of its data set.
        group_column: Column that it must have, or None.
    """
    from pyarrow import types

    columns = ", ".join(table.column_names)
    for name in ("image", "label"):
        count = table.column_names.count(name)
        if count != 1:
            found = f"has {count} of that name" if count else f"has only {columns}"
            raise DataError(
                f"{place} must have a column {name}, but {found}: rename the column, or move the file out of the data "
                "set if it has no images"
            )
    doubled = next((name for name, count in Counter(table.column_names).items() if count > 1), None)
    if doubled is not None:
        raise DataError(
            f"columns must have different names, but {place} has several {doubled!r}: rename or remove them"
        )
    check_image_column(table.schema.field("image").type, place)
    kind = table.schema.field("label").type
    if not (types.is_integer(kind) or types.is_null(kind) or is_text(kind)):
        raise DataError(f"{place}: labels must be text or integers, but are {kind}: number the classes from 0")
    if group_column is not None and group_column not in table.column_names:
        raise DataError(f"--group-column must be a column of {place} ({columns}), but got {group_column!r}")
    image = table.column("image")
    if len(table) and all(not bytes_of(chunk).is_valid().to_numpy(False).any() for chunk in image.chunks):
        raise DataError(
            f"{place}: the column image must contain encoded bytes, but has only {kind_of_rest(image)}: write the "
            "files' bytes into it"
        )
