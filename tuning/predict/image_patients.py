"""Patients of images to predict: from a table, a parquet column, file names, DICOM tags, or files of several images."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.data.readers.dicom_tags import read_tags
from trainables.core.data.readers.image_files import is_dicom_file
from trainables.core.data.readers.parquet.columns import patient_column
from trainables.core.data.readers.tables.label_columns import known_as, listed
from trainables.core.data.readers.tables.named_images import NO_IMAGE
from trainables.core.data.readers.tables.table_files import read_table
from trainables.core.data.readers.unlabelled import Part
from trainables.core.errors import UserError, first_line
from tuning.predict.part_names import PartNames, keys_of

_SOURCES = "--groups FILE, --group-column COLUMN or --group-pattern REGEX"


@dataclass(frozen=True)
class PatientSource:
    """The user's statement about the patients of images. Without one, the files themselves must say.

    Attributes:
        table: Table with a row per image: its columns ``image`` and ``group``, or columns with similar names.
        column: Column of that table, or of parquet files.
        pattern: Regular expression. Its groups in a file's name are the patient; without groups, its match is.
    """

    table: str | None = None
    column: str | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        """Raise UserError for a pattern beside another source."""
        if self.pattern is not None and (self.table is not None or self.column is not None):
            raise UserError("give either --group-pattern, or --groups and --group-column")


def patients_of(parts: Sequence[Part], source: PatientSource) -> list[str]:
    """Return the patient of each image, in order.

    An image without a patient is one of its own, with the image's name. A patient of DICOM files is called after the
    first file. Numbers would stand for other people in another prediction, to which a user may join this one.

    Raises:
        DataError, UserError: The patients are unknown.
    """
    if source.table is not None:
        return _by_table(parts, Path(source.table).expanduser(), source.column)
    if source.pattern is not None:
        return _by_name(parts, source.pattern)
    in_parquet = {part.row_group >= 0 for part in parts}
    if source.column is not None and False in in_parquet:
        raise UserError("--group-column needs --groups FILE, or images that are all in parquet files")
    if len(in_parquet) > 1:
        raise UserError(f"--per patient needs the patients of parquet and of other files: give {_SOURCES}")
    return list(_by_column(parts, source.column) if True in in_parquet else _by_file(parts))


def _by_table(parts: Sequence[Part], table: Path, column: str | None) -> list[str]:
    columns = read_table(table)
    names, groups = _column(columns, "image", None, table), _column(columns, "group", column, table)
    keys, images = [key for part in parts for key in keys_of(part)], PartNames(parts)
    group_of: dict[str, str] = {}
    for name, group in zip(names, groups, strict=True):
        found = images.find(name)
        if found.reason not in ("", NO_IMAGE):
            raise UserError(f"--groups must name each image, but {table} has {name!r}: {found.reason}")
        if not found.reason and group_of.setdefault(found.name, group) != group:
            raise UserError(
                f"an image must have one group, but {table} has {group_of[found.name]} and {group} of {name}"
            )
    named = [image for part in parts for image in part.image_names]
    missing = [image for image, key in zip(named, keys, strict=True) if key not in group_of]
    if missing:
        raise UserError(f"--groups must name each image, but {table} lacks {len(missing)}: {listed(missing)}")
    return [group_of[key] or image for image, key in zip(named, keys, strict=True)]


def _column(columns: Mapping[str, list[str]], role: str, asked: str | None, table: Path) -> list[str]:
    known = [name for name in columns if name == role] or [name for name in columns if known_as(role, name)]
    name = asked or (known[0] if len(known) == 1 else "")
    if name not in columns:
        rule = f"--group-column must be a column of {table}" if asked else f"--groups must have a column {role}"
        raise UserError(f"{rule}, but its columns are {', '.join(columns)}")
    return columns[name]


def _by_name(parts: Sequence[Part], pattern: str) -> list[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group-pattern must be a regular expression, but got {pattern!r}: {error}") from error
    found = [None if part.row_group >= 0 else regex.search(Path(part.path).name) for part in parts]
    if not any(found):
        raise UserError(f"--group-pattern must match file names, but {pattern!r} matches none, as {parts[0].name}")
    return [
        " ".join(filter(None, match.groups())) or match.group() if match else image
        for part, match in zip(parts, found, strict=True)
        for image in part.image_names
    ]


def _by_column(parts: Sequence[Part], column: str | None) -> Iterator[str]:
    """Yield the patients of the images in parquet files."""
    files = dict.fromkeys(part.path for part in parts)
    if not files:
        return
    tables = {file: _columns_of_patients(Path(file), column) for file in files}
    name = column or patient_column(list(tables.values()))
    if name is None:
        raise UserError(
            f"--per patient needs the patients, but {parts[0].name} has no column for them: give {_SOURCES}"
        )
    values = {file: table.column(name).to_pylist() for file, table in tables.items()}
    for part in parts:
        for position, image in enumerate(part.image_names):
            value = values[part.path][part.first_row + position]
            yield image if value is None else str(value)


def _columns_of_patients(file: Path, column: str | None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            if column is not None and column not in names:
                raise UserError(f"--group-column must be a column of {file} ({', '.join(names)}), but got {column!r}")
            return opened.read([name for name in names if name == column or (not column and known_as("group", name))])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{file} is not a readable parquet file: {first_line(error)}") from error


def _by_file(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the patients of images in files: of DICOM tags, or the file itself if it may hold several images."""
    first_file: dict[str, str] = {}
    for part in parts:
        is_dicom = is_dicom_file(Path(part.path))
        patient = read_tags(Path(part.path)).patient if is_dicom else ""
        if not is_dicom and part.images == 1 and not part.axis:
            raise UserError(f"--per patient needs the patients, but {part.name} does not name one: give {_SOURCES}")
        name = f"patient of {first_file.setdefault(patient, part.name)}" if patient else part.name
        yield from [name] * part.images
