"""Several labels per image in a table: ``A|B`` in one column, or one column of 0 and 1 for each label."""

import difflib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainables.core.data.fact import Fact
from trainables.core.data.labels import Labels
from trainables.core.data.readers.tables.label_columns import LabelTable, known_as, known_groups
from trainables.core.data.readers.tables.split_columns import Row, is_split_flag
from trainables.core.data.readers.untrusted_files import listed
from trainables.core.errors import DataError
from trainables.core.plural import plural

SEPARATOR = "|"
_OTHER_SEPARATORS = (";", ",", "/", "+", "&", " and ", " or ")
NO_LABEL = "none"  # in place of columns of 0 and 1 that are all 0
# Names that mean that an image has none of the labels, in lower case and reduced to letters.
_NONE = ("nofinding", "nofindings", "noabnormality", "nolabel", "nolabels", "none", "normal", "healthy", "negative")
# Columns of 0 and 1 with these names are seldom labels.
_SELDOM = ("sex", "gender", "male", "female", "smoker", "smoking", "valid", "usable", "test", "train", "left", "right")


@dataclass(frozen=True)
class JoinedTable:
    """A table with one column of labels.

    Attributes:
        table: The table's description, which names that column.
        columns: Names of the columns.
        rows: The rows.
        joined: True if columns of 0 and 1 became the column of labels.
    """

    table: LabelTable
    columns: list[str]
    rows: list[Row]
    joined: bool = False


def join_columns(table: LabelTable, columns: list[str], rows: list[Row], place: str) -> JoinedTable:
    """Turn columns of 0 and 1 into one column of labels, like ``A|B``, if the table has them.

    They are those that ``table.label`` names, separated by commas. If it names none and no column is known as the
    label, they are all columns of 0 and 1, if there are at least two.

    Raises:
        DataError: A named column does not exist or holds something else, or it is unclear which columns are labels.
    """
    names = _named(table, columns) or _recognised(table, columns, rows, place)
    if not names:
        return JoinedTable(table, columns, rows)
    for name in names:
        if SEPARATOR in name:
            raise DataError(f"the name of a label must not have {SEPARATOR!r}, but {place} has {name!r}: rename it")
        other = sorted({row[name] for row in rows} - {"0", "1", ""})
        if other:
            raise DataError(
                f"each column of --label-column must hold 0 or 1, but {name} of {place} has {listed(other)}: correct "
                "them, or leave the column out"
            )
    label = ",".join(names)
    rest = [name for name in columns if name not in names]
    joined: list[Row] = [{**{name: row[name] for name in rest}, label: _joined(row, names)} for row in rows]
    return JoinedTable(replace(table, label=label), [*rest, label], joined, joined=True)


def _named(table: LabelTable, columns: Sequence[str]) -> list[str]:
    if table.label is None or table.label in columns or "," not in table.label:
        return []
    names = [name.strip() for name in table.label.split(",")]
    for name in names:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"--label-column must name columns among {', '.join(columns)}, but got {name!r}{hint}")
    if len(set(names)) < len(names):
        raise DataError(f"--label-column must name each column once, but got {table.label}")
    return names


def _recognised(table: LabelTable, columns: Sequence[str], rows: Sequence[Row], place: str) -> list[str]:
    if table.label is not None or any(known_as("label", name) for name in columns):
        return []
    others = [*known_groups(columns), *(name for name in columns if known_as("image", name) or known_as("split", name))]
    others += [name for name in (table.image, table.group, table.split) if name]
    values = {name: {row[name] for row in rows} - {""} for name in columns if name not in others}
    binary = [name for name, of_name in values.items() if of_name == {"0", "1"}]
    uncertain = [name for name, of_name in values.items() if "-1" in of_name <= {"-1", "0", "1"}]
    if uncertain and len(binary) > 1:
        raise DataError(
            f"columns {', '.join(binary)} of {place} hold 0 and 1, but {listed(uncertain)} also -1: if it is a label, "
            "write 0, 1 or an empty cell; else name the others with --label-column"
        )
    seldom = [name for name in binary if _letters(name) in _SELDOM or is_split_flag(name)]
    if seldom and len(binary) > 1:
        labels = ",".join(name for name in binary if name not in seldom)
        raise DataError(
            f"columns {', '.join(binary)} of {place} hold 0 and 1, but {listed(seldom)} may be no label: pass the "
            f"labels, such as --label-column {shlex.quote(labels or ','.join(binary))}"
        )
    return binary if len(binary) > 1 else []


def _joined(row: Row, names: Sequence[str]) -> str:
    """Return the labels of a row; "" if a value is missing, or if no column has 1 although one is for no finding."""
    if any(not row[name] for name in names):
        return ""
    nothing = "" if any(_letters(name) in _NONE for name in names) else NO_LABEL
    return SEPARATOR.join(name for name in names if row[name] == "1") or nothing


@dataclass(frozen=True, eq=False)
class LabelReading:
    """Meaning of the values in the column of labels.

    Attributes:
        names_in: Returns the classes or labels in a value.
        encode: Returns the labels of N values as in ``Source``, given the names of all classes or labels.
        fault: Returns the reason why a value contradicts itself, or "".
        describe: Returns notes on the values, given their encoding and the names.
    """

    names_in: Callable[[str], frozenset[str]]
    encode: Callable[[Sequence[str], Sequence[str]], Labels]
    fault: Callable[[str], str]
    describe: Callable[[Sequence[str], Labels, Sequence[str]], list[str]]


def choose_reading(values: Sequence[str], joined: bool, column: str, place: str) -> LabelReading:
    """Choose between one class for each image and any number of labels.

    Images have labels if a value has several, or if an image has none of the columns of 0 and 1.

    Args:
        values: Values of the column of labels.
        joined: True if they come from columns of 0 and 1.
        column: Name of the column, for messages.
        place: Name of the table, for messages.

    Raises:
        DataError: It is unclear because the labels seem to be separated by something else.
    """
    distinct = set(values)
    if any(SEPARATOR in value for value in distinct) or (joined and NO_LABEL in distinct - set(column.split(","))):
        return _SEVERAL
    rule = f"several labels of an image must be separated by {SEPARATOR!r}, but column {column} of {place} has"
    for separator in _OTHER_SEPARATORS:
        lists = sorted(value for value in distinct if separator in value)
        alone = [part.strip() in distinct for value in lists for part in value.split(separator)]
        if lists and (all(alone) or (any(alone) and separator in ";,")):
            raise DataError(
                f"{rule} {listed(lists)}: write {SEPARATOR} between labels, or another sign than {separator.strip()!r} "
                "within the name of a class"
            )
    printed = sorted(value for value in distinct if re.fullmatch(r"\[.*\]|\{.*\}", value))
    if printed:
        raise DataError(f"{rule} lists, such as {max(printed, key=len)}: write them like A{SEPARATOR}B")
    return _ONE


def _one_class(value: str) -> frozenset[str]:
    return frozenset({value} - {""})


def _class_numbers(values: Sequence[str], names: Sequence[str]) -> Labels:
    number = {name: index for index, name in enumerate(names)}
    return np.array([number.get(value, -1) for value in values], dtype=np.int64)


def _split(value: str) -> frozenset[str]:
    return frozenset(part for part in _parts(value) if _letters(part) not in _NONE)


def _label_matrix(values: Sequence[str], names: Sequence[str]) -> Labels:
    number = {name: index for index, name in enumerate(names)}
    labels = np.zeros((len(values), len(names)), dtype=np.int64)
    for row, value in zip(labels, values, strict=True):
        row[[number[name] for name in _split(value)]] = 1
        row[:] = row if value else -1
    return labels


def _contradiction(value: str) -> str:
    parts = _parts(value)
    return f"has the labels {' and '.join(parts)}" if 0 < len(_split(value)) < len(set(parts)) else ""


def _describe(values: Sequence[str], labels: Labels, names: Sequence[str]) -> list[str]:
    counts = labels[labels.min(axis=1) >= 0].sum(axis=1)
    none = sorted({part for value in values for part in _parts(value)} - {*names, NO_LABEL})
    written = f" ({', '.join(none)})" if none else ""
    return [
        Fact(
            f"images have any number of {plural(len(names), 'label')} ({', '.join(names)}): {(counts == 0).sum()} have "
            f"none{written}, {(counts == 1).sum()} have one, {(counts > 1).sum()} have several"
        )
    ]


def _parts(value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(SEPARATOR)) if part]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


_ONE = LabelReading(_one_class, _class_numbers, lambda _: "", lambda *_: [])
_SEVERAL = LabelReading(_split, _label_matrix, _contradiction, _describe)
