"""Parquet files in the hub's layout (``image: {bytes, path}``, ``label``), and hub data sets."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.image_files import unread_files
from trainables.core.data.readers.layout_checks import check_one_configuration
from trainables.core.data.readers.untrusted_files import check_within
from trainables.core.data.source import SPLIT_NAMES, Source, numbered
from trainables.core.errors import DataError, first_line

_MOST_CLASSES = 10_000


def open_parquet(root: Path, files: list[Path], group_column: str | None) -> Source:
    """Open parquet files below ``root``. A file's name, or that of its folder, gives the split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_one_configuration(root, files)
    parts = []
    for file in files:
        # train-00000-of-00001.parquet, train_0.parquet, or test/0000.parquet in data sets converted by the hub
        hints = (re.split(r"[-_.]", file.name)[0].lower(), file.parent.name.lower())
        split = next((SPLIT_NAMES[hint] for hint in hints if hint in SPLIT_NAMES), "")
        try:
            check_within(root, file)
            parts.append((split, pq.ParquetFile(file).read()))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{file} is not a readable parquet file: {first_line(error)}") from error
    source = _from_tables(parts, str(files[0].parent), group_column)
    return replace(source, unread=unread_files(root, lambda name: name.suffix.lower() == ".parquet"))


def open_hub(name: str, group_column: str | None) -> Source:
    """Open a hub data set, ``owner/name``."""
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:
        raise DataError(
            f"the hub data set {name!r} could not be loaded ({type(error).__name__}): "
            "download it on a machine with network access and pass its folder as --data DIR"
        ) from error
    # with_format("arrow") returns the stored bytes. The default would decode each image.
    parts = [(SPLIT_NAMES.get(split, ""), part.with_format("arrow")[:]) for split, part in loaded.items()]
    return _from_tables(parts, name, group_column)


def _from_tables(parts: list[tuple[str, Any]], place: str, group_column: str | None) -> Source:
    """Read Arrow tables with an ``image`` struct of ``bytes`` and a ``label``, as the hub stores them."""
    for _, table in parts:
        missing = [name for name in ("image", "label") if table.column_names.count(name) != 1]
        if missing:
            raise DataError(
                f"{place} must have one column image and one column label, but {' and '.join(missing)} is missing or "
                "duplicated"
            )
        if group_column is not None and group_column not in table.column_names:
            raise DataError(f"--group-column must be one of {', '.join(table.column_names)}, but got {group_column!r}")
        if not holds_bytes(table.schema.field("image").type):
            raise DataError(
                f"{place}: the column image must contain encoded bytes, but is {table.schema.field('image').type}"
            )
    labels = np.concatenate([_labels(table, place) for _, table in parts])
    groups = np.arange(len(labels))
    if group_column is not None:
        values = [value for _, table in parts for value in table.column(group_column).to_pylist()]
        groups = numbered([(index,) if value is None else str(value) for index, value in enumerate(values)])
    images = [row for _, table in parts for chunk in table.column("image").chunks for row in chunk.field("bytes")]
    names = [f"{split or place} row {row}" for split, table in parts for row in range(len(table))]
    return Source(
        class_names=_class_names([table.schema for _, table in parts], labels, place),
        labels=labels,
        published=np.concatenate([np.full(len(table), split, dtype="<U5") for split, table in parts]),
        groups=groups,
        names=names,
        read_bytes=lambda index: images[index].as_py() or b"",
        groups_given=group_column is not None,
        files=_file_names(parts),
    )


def holds_bytes(kind: Any) -> bool:
    """Return True for the hub's Arrow type of an encoded image: a struct with binary ``bytes``."""
    from pyarrow import types

    return bool(
        types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and types.is_binary(kind.field("bytes").type)
    )


def _file_names(parts: list[tuple[str, Any]]) -> list[str]:
    """Return the file names in the image struct's ``path``."""
    names = []
    for _, table in parts:
        for chunk in table.column("image").chunks:
            known = chunk.type.get_field_index("path") >= 0
            names += [Path(path or "").name for path in chunk.field("path").to_pylist()] if known else [""] * len(chunk)
    return names


def _labels(table: Any, place: str) -> NDArray[np.int64]:
    from pyarrow import types

    kind = table.schema.field("label").type
    if not (types.is_integer(kind) or types.is_null(kind)):
        raise DataError(f"{place}: labels must be integers, but are {kind}")
    labels = np.asarray(table.column("label").cast("int64", safe=False).fill_null(-1).to_numpy(), dtype=np.int64)
    if labels.max(initial=-1) >= _MOST_CLASSES:
        raise DataError(f"{place}: labels must number the classes from 0, but the largest is {labels.max()}")
    return labels


def _class_names(schemas: Sequence[Any], labels: NDArray[np.int64], place: str) -> tuple[str, ...]:
    named = {_declared_names(schema) for schema in schemas}
    if len(named) > 1:
        raise DataError(f"{place}: all files must have the same class names in the same order, but they differ")
    names = named.pop()
    if names is None:
        return tuple(f"class_{index}" for index in range(int(labels.max(initial=-1)) + 1))
    if int(labels.max(initial=-1)) >= len(names):
        raise DataError(
            f"{place}: labels must be below {len(names)}, the number of class names, but the largest is {labels.max()}"
        )
    return names


def _declared_names(schema: Any) -> tuple[str, ...] | None:
    """Return the class names that the hub stores in a table's metadata, or None."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get("label", {}).get("names")
        return None if names is None else tuple(map(str, names))
    except (ValueError, AttributeError, TypeError, RecursionError):  # not written by the hub
        return None
