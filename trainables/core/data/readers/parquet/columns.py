"""Columns of parquet files beside images and labels: patients and metadata."""

from collections.abc import Sequence
from typing import Any

from trainables.core.data.readers.tables.label_columns import known_groups


def patient_column(tables: Sequence[Any]) -> str | None:
    """Return the column that all files have and whose name is known as the group, if there is exactly one.

    A column of one value does not count, as after anonymisation.
    """
    shared = set.intersection(*(set(table.column_names) for table in tables))
    found = known_groups(sorted(shared))
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
