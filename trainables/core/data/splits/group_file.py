"""Files that say which group each image belongs to: columns ``image`` and ``group``, and any others."""

import csv
from collections.abc import Collection, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.patient_names import names_patient
from trainables.core.data.readers.pseudonyms import pseudonym
from trainables.core.data.readers.tables.table_files import read_table
from trainables.core.data.source import Source, numbered
from trainables.core.errors import DataError

_COLUMNS = ("image", "group")


def group_table(names: Sequence[str], groups: NDArray[np.int64], patients: Sequence[str] = ()) -> str:
    """Return the groups of all images as CSV.

    A group is called by the pseudonym of its patient, or of several that share an identical image, if ``patients`` has
    them. The others are numbered from 1 in the order of the images.

    Args:
        names: N names of images.
        groups: (N,) int64.
        patients: N identifiers of patients, "" if unknown; empty if they are not to be used.

    Raises:
        DataError: The key of pseudonyms cannot be used.
    """
    numbers = (1 + numbered(groups.tolist())).tolist()
    of_group: dict[int, set[str]] = {}
    for number, patient in zip(numbers, patients or [""] * len(numbers), strict=True):
        of_group.setdefault(number, set()).update([pseudonym(patient)] if patient else [])
    called = ["+".join(sorted(of_group.get(number, ()))) or number for number in numbers]
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows(zip(names, called, strict=True))
    return text.getvalue()


def grouped_by_file(source: Source, file: Path) -> Source:
    """Return the source with the groups of a file, whose further columns become metadata.

    An image whose group is empty, or a word such as ``unknown``, has no group.

    Raises:
        DataError: The file cannot be read, or does not name each image exactly as the audit does, in one group.
    """
    columns = read_table(file)
    if not set(_COLUMNS) <= set(columns):
        raise DataError(f"--groups must have the columns image and group, but {file} has {', '.join(columns)}")
    rows = list(zip(columns["image"], columns["group"], strict=True))
    group_of = dict(rows)
    names = [name.strip() for name in source.names]  # tables are read without surrounding spaces
    faults = [
        _count("images of the data are missing", set(names) - group_of.keys()),
        _count("names are no image of the data", group_of.keys() - set(names)),
        _count("images are in two groups", {name for name, group in rows if group_of[name] != group}),
    ]
    if any(faults):
        raise DataError(
            f"--groups must name each image once, as tune-audit DATA --write-groups FILE does, but in {file} "
            + "; ".join(filter(None, faults))
        )
    known = [names_patient(group_of[name]) for name in names]
    keys = [group_of[name] if known[index] else (index,) for index, name in enumerate(names)]
    row_of = {name: row for row, (name, _) in enumerate(rows)}
    others = {
        column: [values[row_of[name]] for name in names] for column, values in columns.items() if column not in _COLUMNS
    }
    metadata = {**source.metadata, **others}
    return source.grouped_by(keys, known, f"--groups {file}", metadata=metadata)


def _count(fault: str, names: Collection[str]) -> str:
    return f"{len(names)} {fault} ({min(names)!r}{', ...' * (len(names) > 1)})" if names else ""
