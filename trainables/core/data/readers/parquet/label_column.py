"""Labels in parquet files: text, or integers that number the classes."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.tables.label_sets import SEPARATOR, choose_reading
from trainables.core.data.readers.tables.unknown_labels import check_known
from trainables.core.errors import DataError

_MOST_CLASSES = 10_000


def is_text(kind: Any) -> bool:
    """Return True for an Arrow type of text, also as a dictionary."""
    from pyarrow import types

    stored = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(stored) or types.is_large_string(stored) or types.is_string_view(stored))


def text_labels(tables: Sequence[Any], place: str) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """Return the (N,) labels and the sorted class names if the labels are text, else None. -1 is a missing label.

    Raises:
        DataError: Only some files have text, or a value has several labels.
    """
    types = [table.schema.field("label").type for table in tables]
    kinds = {is_text(kind) for kind in types if str(kind) != "null"}
    if True not in kinds:
        return None
    if len(kinds) > 1:
        raise DataError(f"{place}: the labels of all files must be text, or all integers, but they differ")
    values = [(value or "").strip() for table in tables for value in table.column("label").to_pylist()]
    several = sorted(value for value in set(values) if SEPARATOR in value)
    if several:
        raise DataError(
            f"{place}: each image in Parquet must have one label, but there is {several[0]!r}: write the images into "
            "files, and their labels into a table for --labels"
        )
    choose_reading(values, False, "label", place)  # refuses labels that are separated by something else
    names = tuple(sorted(set(values) - {""}))
    check_known(names, values, "label", place)
    number = {name: index for index, name in enumerate(names)}
    return np.array([number.get(value, -1) for value in values], dtype=np.int64), names


def numbered_classes(tables: Sequence[Any], place: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the (N,) labels and the class names of integer labels. -1 is a missing label."""
    labels = np.concatenate([_labels(table, place) for table in tables])
    return labels, _class_names([table.schema for table in tables], labels, place)


def _labels(table: Any, place: str) -> NDArray[np.int64]:
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
        least = int(labels[labels >= 0].min(initial=_MOST_CLASSES))
        if 0 < least < _MOST_CLASSES:
            raise DataError(f"{place}: labels must number the classes from 0, but the smallest is {least}")
        count = int(labels.max(initial=-1)) + 1
        absent = np.setdiff1d(np.arange(count), labels)
        if len(absent):
            raise DataError(
                f"{place}: labels must number the classes from 0 without gaps, but no image has {absent[0]}, and the "
                f"largest is {count - 1}: close the gaps, or write the names of the classes as text"
            )
        return tuple(f"class_{index}" for index in range(count))
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
