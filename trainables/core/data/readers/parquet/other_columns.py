"""Columns of parquet files beside images and labels: patients, published splits and metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.core.data.readers.parquet.image_column import is_binary
from trainables.core.data.readers.patient_names import count_patients, describe_unused, name_the_same
from trainables.core.data.readers.tables.label_columns import is_known_group, known_groups, naming_groups
from trainables.core.data.readers.tables.split_columns import check_no_choice, check_no_flag, known_splits
from trainables.core.data.readers.tables.table_files import cell_text, column_values
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError

_OTHER_MEANINGS = ("image", "label")


def patient_column(columns: Mapping[str, Sequence[str]], place: str) -> tuple[str | None, list[str], str]:
    """Return the column whose name is known as the group, if there is one, or several that say the same.

    A column that does not name several patients does not count.

    Args:
        columns: Columns without another use: name to N values.
        place: Name of the data set, for messages.

    Returns:
        The column or None, notes on columns that do not count, and a message if several could be the group, else "".
    """
    found = naming_groups({name: columns[name] for name in sorted(columns)})
    unused = [name for name in known_groups(sorted(columns)) if count_patients(columns[name]) < 2]
    notes = [describe_unused(name, columns[name]) for name in unused]
    if not name_the_same([columns[name] for name in found]):
        rule = f"{place} has several columns that could be the group ({', '.join(found)})"
        return None, notes, f"{rule}: pass --group-column, or give the column one name in all files"
    return next(iter(found), None), notes, ""


def columns_of(tables: Sequence[Any], group_column: str | None, place: str) -> dict[str, list[str]]:
    """Return all columns beside images and labels, as ``read_table`` does: files may differ in their types.

    A value is "" if a file lacks the column. Lists, structs and bytes are left out if they are not the group.

    Raises:
        DataError: A value cannot be read, or the group is the column of the images or labels.
    """
    if group_column in _OTHER_MEANINGS:
        raise DataError(
            f"each column must have one meaning, but --group-column {group_column} names the {group_column}s of "
            f"{place}: name another one"
        )
    fields = [field for table in tables for field in table.schema if field.name not in _OTHER_MEANINGS]
    others = {field.name for field in fields if not _is_plain(field.type)}
    names = dict.fromkeys(field.name for field in fields)
    used = [name for name in names if name not in others or name == group_column or is_known_group(name)]
    return {name: [text for table in tables for text in _texts(table, name, place)] for name in used}


def _texts(table: Any, name: str, place: str) -> list[str]:
    if name not in table.column_names:
        return [""] * len(table)
    return [cell_text(value) for value in column_values(table.column(name), name, place)]


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


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return not (types.is_nested(kind) or is_binary(kind))
