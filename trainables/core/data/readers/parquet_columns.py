"""Columns of parquet files beside the images: text labels, patients and metadata."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.tables.label_columns import known_as
from trainables.core.errors import DataError


def is_text(kind: Any) -> bool:
    """Return True for an Arrow type of text, also as a dictionary."""
    from pyarrow import types

    stored = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(stored) or types.is_large_string(stored))


def text_labels(tables: Sequence[Any], place: str) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """Return the (N,) labels and the sorted class names if the labels are text, else None. -1 is a missing label.

    Raises:
        DataError: Only some files have text.
    """
    types = [table.schema.field("label").type for table in tables]
    kinds = {is_text(kind) for kind in types if str(kind) != "null"}
    if True not in kinds:
        return None
    if len(kinds) > 1:
        raise DataError(f"{place}: the labels of all files must be text, or all integers, but they differ")
    values = [(value or "").strip() for table in tables for value in table.column("label").to_pylist()]
    names = tuple(sorted(set(values) - {""}))
    number = {name: index for index, name in enumerate(names)}
    return np.array([number.get(value, -1) for value in values], dtype=np.int64), names


def patient_column(tables: Sequence[Any]) -> str | None:
    """Return the column that all files have and whose name is known as the group, if there is exactly one.

    A column of one value does not count, as after anonymisation.
    """
    shared = set.intersection(*(set(table.column_names) for table in tables))
    found = [name for name in sorted(shared) if known_as("group", name)]
    found = [name for name in found if len({str(value) for table in tables for value in table.column(name)}) > 1]
    return found[0] if len(found) == 1 else None


def other_columns(tables: Sequence[Any], used: Sequence[str | None]) -> dict[str, list[str]]:
    """Return the columns that all files have and that have no other use, as text; "" for a null."""
    shared = set.intersection(*(set(table.column_names) for table in tables)) - set(used)
    return {
        name: ["" if value is None else str(value) for table in tables for value in table.column(name).to_pylist()]
        for name in tables[0].column_names
        if name in shared and _is_plain(tables[0].schema.field(name).type)
    }


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))
