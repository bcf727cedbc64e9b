"""Columns of parquet files beside images and labels: patients, published splits and metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.core.data.readers.patient_names import count_patients, describe_unused
from trainables.core.data.readers.tables.label_columns import known_groups
from trainables.core.data.readers.tables.split_columns import check_no_choice, check_no_flag, known_splits
from trainables.core.data.readers.tables.table_files import cell_text
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError


def patient_column(tables: Sequence[Any]) -> tuple[str | None, list[str]]:
    """Return the column that all files have and whose name is known as the group, if there is exactly one.

    A column that does not name several patients does not count.

    Returns:
        The column or None, and notes on columns that do not count.
    """
    shared = set.intersection(*(set(table.column_names) for table in tables))
    known = known_groups(sorted(shared))
    values = {name: values_of(tables, name) for name in known}
    found = [name for name in known if count_patients(values[name]) > 1]
    notes = [describe_unused(name, values[name]) for name in known if name not in found]
    return found[0] if len(found) == 1 else None, notes


def values_of(tables: Sequence[Any], column: str) -> list[str]:
    """Return the values of a column of all files as text, as ``read_table`` does: files may differ in its type."""
    return [cell_text(value) for table in tables for value in table.column(column).to_pylist()]


def split_column(columns: Mapping[str, Sequence[str]], of_files: Sequence[str], place: str) -> str | None:
    """Return the column with the published split of each row, if there is one.

    Args:
        columns: Columns without another use: name to N values.
        of_files: (N) split that the name of each row's file gives, or "".
        place: Name of the data set, for messages.

    Raises:
        DataError: Several columns could be it, a column looks like a split in another form or like a choice of rows, or
            the column contradicts the names of files of several splits.
    """
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    check_no_choice(list(columns), rows, place)
    found = known_splits(list(columns), rows, place)
    several_files = len(set(of_files)) > 1
    if len(found) > 1:
        raise DataError(
            f"{place} has several columns that could be the split ({', '.join(found)}): remove or rename all but one"
        )
    if not found:
        if not several_files:
            check_no_flag(list(columns), rows, place)
        return None
    named = [SPLIT_NAMES.get(row[found[0]].lower(), "") for row in rows]
    if several_files and named != list(of_files):
        raise DataError(
            f"the splits in column {found[0]} of {place} differ from those in the names of its files: remove the "
            "column, or name all files train"
        )
    return found[0]


def other_columns(tables: Sequence[Any], used: Sequence[str | None]) -> dict[str, list[str]]:
    """Return the columns that all files have and that have no other use, as text, see ``values_of``."""
    shared = set.intersection(*(set(table.column_names) for table in tables)) - set(used)
    return {
        name: values_of(tables, name)
        for name in tables[0].column_names
        if name in shared and _is_plain(tables[0].schema.field(name).type)
    }


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))
