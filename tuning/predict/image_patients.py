"""Patients of images to predict: from a table, a parquet column, file names, DICOM tags, or files of several images."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.data.readers.dicom_tags import read_tags
from trainables.core.data.readers.image_files import is_dicom_file
from trainables.core.data.readers.parquet.other_columns import columns_of, patient_column
from trainables.core.data.readers.patient_names import describe_largest, names_patient
from trainables.core.data.readers.pseudonyms import KEY_VARIABLE, has_lasting_key, pseudonym
from trainables.core.data.readers.tables.label_columns import groups_to_predict, is_known_group, known_as
from trainables.core.data.readers.tables.named_images import NO_IMAGE
from trainables.core.data.readers.tables.table_files import read_table
from trainables.core.data.readers.unlabelled import Part
from trainables.core.data.readers.untrusted_files import listed
from trainables.core.data.readers.volumes import find_subjects
from trainables.core.errors import UserError, first_line
from trainables.core.plural import plural
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


@dataclass(frozen=True)
class Patients:
    """Patients of images.

    Attributes:
        of_images: Patient of each image. An image without one is a patient of its own, with the image's name.
        unknown: Number of images without one.
        pseudonyms: True if some have pseudonyms, because they are known from DICOM tags.
    """

    of_images: list[str]
    unknown: int = 0
    pseudonyms: bool = False


def patients_of(parts: Sequence[Part], source: PatientSource) -> Patients:
    """Return the patients of images.

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
    return _named(parts, list(_by_column(parts, source.column))) if True in in_parquet else _by_file(parts)


def _named(parts: Sequence[Part], patients: Sequence[str | None]) -> Patients:
    """Return patients whose names may be missing, or words such as ``unknown``."""
    names = [name for part in parts for name in part.image_names]
    known = list(map(names_patient, patients))
    of_images = [str(one) if is_known else name for one, is_known, name in zip(patients, known, names, strict=True)]
    return Patients(of_images, known.count(False))


def _by_table(parts: Sequence[Part], table: Path, column: str | None) -> Patients:
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
    return _named(parts, [group_of[key] for key in keys])


def _column(columns: Mapping[str, list[str]], role: str, asked: str | None, table: Path) -> list[str]:
    similar = groups_to_predict(columns) if role == "group" else [name for name in columns if known_as(role, name)]
    known = [role] if role in columns else similar
    name = asked or (known[0] if len(known) == 1 else "")
    if name not in columns:
        rule = f"--group-column must be a column of {table}" if asked else f"--groups must have a column {role}"
        raise UserError(f"{rule}, but its columns are {', '.join(columns)}")
    return columns[name]


def _by_name(parts: Sequence[Part], pattern: str) -> Patients:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group-pattern must be a regular expression, but got {pattern!r}: {error}") from error
    found = [None if part.row_group >= 0 else regex.search(Path(part.path).name) for part in parts]
    if not any(found):
        raise UserError(f"--group-pattern must match file names, but {pattern!r} matches none, as {parts[0].name}")
    return _named(
        parts,
        [
            " ".join(filter(None, match.groups())) or match.group() if match else None
            for part, match in zip(parts, found, strict=True)
            for _ in part.image_names
        ],
    )


def _by_column(parts: Sequence[Part], column: str | None) -> Iterator[str]:
    """Yield the patients of the images in parquet files."""
    files = dict.fromkeys(part.path for part in parts)
    if not files:
        return
    tables = {file: _columns_of_patients(Path(file), column) for file in files}
    columns = columns_of(list(tables.values()), column, parts[0].name)
    known = groups_to_predict({name: columns[name] for name in sorted(columns)})
    recognised, _, unclear = patient_column({name: columns[name] for name in known}, parts[0].name)
    name = column or recognised or (known[0] if len(known) == 1 else None)
    if name is None:
        none = f"--per patient needs the patients, but {parts[0].name} has no column for them: give {_SOURCES}"
        raise UserError(unclear or none)
    of_file = {file: columns_of([table], name, file).get(name, [""] * len(table)) for file, table in tables.items()}
    for part in parts:
        yield from of_file[part.path][part.first_row : part.first_row + part.images]


def _columns_of_patients(file: Path, column: str | None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            if column is not None and column not in names:
                raise UserError(f"--group-column must be a column of {file} ({', '.join(names)}), but got {column!r}")
            return opened.read([name for name in names if name == column or (not column and is_known_group(name))])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{file} is not a readable parquet file: {first_line(error)}") from error


def _by_file(parts: Sequence[Part]) -> Patients:
    """Return the patients of images in files: of DICOM tags, of names in BIDS, or the file if it may hold several."""
    subjects = find_subjects([Path(part.path) for part in parts if part.axis])
    of_images: list[str] = []
    unknown, pseudonyms = 0, False
    for part in parts:
        is_dicom = is_dicom_file(Path(part.path))
        patient = read_tags(Path(part.path)).patient if is_dicom else ""
        if not is_dicom and not part.has_frames:
            raise UserError(f"--per patient needs the patients, but {part.name} does not name one: give {_SOURCES}")
        named = pseudonym(patient) if patient else subjects.get(Path(part.path), part.name)
        of_images += [named] * part.images
        unknown += part.images * (is_dicom and not patient)
        pseudonyms |= bool(patient)
    return Patients(of_images, unknown, pseudonyms)


def describe_patients(parts: Sequence[Part], patients: Patients) -> list[str]:
    """Return notes on the names of patients, and on patients that may not be those that the user means."""
    notes = []
    if patients.pseudonyms and not has_lasting_key():
        notes.append(
            f"patients are called by pseudonyms of this run only: with {KEY_VARIABLE}, a file with a secret key, they "
            "have the same ones in every run"
        )
    if patients.unknown:
        notes.append(
            f"{plural(patients.unknown, 'image has', 'images have')} no known patient: each such file counts as one"
        )
    units = sum(part.images if part.row_group >= 0 else 1 for part in parts)
    if len(set(patients.of_images)) == 1 < units:
        notes.append(
            f"all {len(patients.of_images)} images count as one patient: if anonymisation gave all of them the same "
            f"identifier, give {_SOURCES}"
        )
    return [*notes, *describe_largest(patients.of_images)]
