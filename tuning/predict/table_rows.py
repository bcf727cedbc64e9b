"""Tables whose rows name the images to predict, and whose other columns go along with the predictions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.core.data.readers.patient_names import count_patients, name_the_same, names_patient
from trainables.core.data.readers.tables.identifying_columns import identifying_reason
from trainables.core.data.readers.tables.label_columns import groups_to_predict, known_as
from trainables.core.data.readers.tables.table_files import read_table
from trainables.core.data.readers.unlabelled import Part
from trainables.core.errors import UserError
from trainables.core.serving.score_images import ScoredImage
from tuning.predict.part_names import PartNames, keys_of

_NO_COLUMN = "none"
_Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class TableSource:
    """A table that names the images to predict. None leaves a column to be recognised by its name.

    Attributes:
        file: Path of the table, also relative to a folder of images.
        image: Column of the images' names.
        group: Column of the patients.
        columns: Columns to pass on; None for all that nothing says identify a person.
    """

    file: str
    image: str | None = None
    group: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """A row of the output.

    Attributes:
        row: Row of the table.
        image: Position of its image among all images of the parts; None if the row has no image.
    """

    row: int
    image: int | None


@dataclass(frozen=True)
class TableRows:
    """Rows of a table and their images.

    Attributes:
        parts: Parts with an image that a row names, in the order of the rows.
        row_of: First row that names an image, by the image's key.
        names: Image names in the rows.
        reasons: Reason why a row has no image, by row.
        columns: Columns to pass on: the values of all rows by name.
        patients: Patient of each row, "" if unknown; None without a column of patients.
        notes: How the table was understood.
    """

    parts: tuple[Part, ...]
    row_of: Mapping[str, int]
    names: tuple[str, ...]
    reasons: Mapping[int, str]
    columns: _Columns
    patients: tuple[str, ...] | None
    notes: tuple[str, ...]

    def entries(self, parts: Sequence[Part]) -> list[Entry]:
        """Return the rows of the output, in the order of the table: one for each frame of a file of several.

        Rows of a parquet file are in the order of the file.

        Args:
            parts: ``parts``, perhaps with other slices of volumes.
        """
        starts = dict[int, list[Entry]]()  # the entries of each part, by the first of its rows
        position = 0
        for part in parts:
            keys = keys_of(part)
            of_part = [Entry(self.row_of[key], position + one) for one, key in enumerate(keys) if key in self.row_of]
            starts[min(entry.row for entry in of_part)] = of_part
            position += len(keys)
        starts |= {row: [Entry(row, None)] for row in self.reasons}
        return [entry for row in sorted(starts) for entry in starts[row]]

    def scored(self, rows: Iterable[ScoredImage], entries: Sequence[Entry]) -> Iterator[ScoredImage]:
        """Yield the scored image of each entry; for rows without an image, why there is none."""
        numbered = enumerate(rows)
        for entry in entries:
            if entry.image is None:
                yield ScoredImage(self.names[entry.row], None, error=self.reasons[entry.row])
            else:
                yield next(row for position, row in numbered if position == entry.image)

    def values(self, row: int) -> tuple[str, ...]:
        """Return the values of a row to pass on."""
        return tuple(values[row] for values in self.columns.values())

    def values_of_patients(self, entries: Sequence[Entry], patients: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the values of each patient to pass on; different ones of its images are separated by ``|``."""
        rows_of: dict[str, list[int]] = {}
        for entry, patient in zip(entries, patients, strict=True):
            rows_of.setdefault(patient, []).append(entry.row)
        return {
            patient: tuple(_joined(values[row] for row in rows) for values in self.columns.values())
            for patient, rows in rows_of.items()
        }


def _joined(values: Iterable[str]) -> str:
    """Return the different values, of several labels the different labels, separated by ``|``."""
    return "|".join(dict.fromkeys(part for value in values for part in value.split("|") if part))


def read_rows(source: TableSource, file: Path, parts: Sequence[Part]) -> TableRows:
    """Read a table, and find the images that its rows name. An image that several rows name is that of the first.

    Args:
        source: The user's statement about the table.
        file: The table.
        parts: Images to choose from.

    Raises:
        DataError, UserError: The table cannot be read, lacks a column, names no image, or gives an image several
            patients.
    """
    columns, images = read_table(file), PartNames(parts)
    image = _image_column(columns, source.image, images, file)
    names = columns[image]
    found = [images.find(name) for name in names]
    reasons = {row: one.reason for row, one in enumerate(found) if one.reason}
    if len(reasons) == len(names):
        raise UserError(f"rows of --labels must name images, but none of {file} does: {names[0]!r}: {reasons[0]}")
    groups = _patient_columns(columns, source.group, image, file)
    patients = columns[groups[0]] if groups and name_the_same([columns[name] for name in groups]) else None
    row_of: dict[str, int] = {}
    for row, one in enumerate(found):
        if one.reason:
            continue
        first = row_of.setdefault(one.name, row)
        if patients is not None and patients[row] != patients[first]:
            raise UserError(
                f"all rows of an image must name one patient, but those of {names[row]} in {file} differ in "
                f"{groups[0]}: correct the table"
            )
    first_rows = {part: [row_of[key] for key in keys_of(part) if key in row_of] for part in parts}
    named = sorted((part for part in first_rows if first_rows[part]), key=lambda part: min(first_rows[part]))
    passed_on, about_columns = _passed_on(columns, source.columns, groups, patients, file)
    unnamed = sum(part.images for part in parts) - sum(map(len, first_rows.values()))
    repeated = len(names) - len(reasons) - len(row_of)
    return TableRows(
        parts=tuple(named),
        row_of=row_of,
        names=tuple(names),
        reasons=reasons,
        columns=passed_on,
        patients=None if patients is None else tuple(one if names_patient(one) else "" for one in patients),
        notes=(
            *about_columns,
            *([f"images without a row in {file}, which are not scored: {unnamed}"] if unnamed else []),
            *([f"rows of {file} that repeat an image: {repeated}; the first row of each counts"] if repeated else []),
        ),
    )


def find_table(name: str, folders: Sequence[Path]) -> Path:
    """Return the table that ``--labels`` names.

    Args:
        name: Its path.
        folders: Folders that the path may be relative to.

    Raises:
        UserError: It does not exist.
    """
    for file in (Path(name).expanduser(), *(folder / name for folder in folders)):
        if file.is_file():
            return file
    raise UserError(f"--labels must be an existing file, but {name} is not one, neither here nor in a folder of IMAGES")


def _image_column(columns: _Columns, asked: str | None, images: PartNames, file: Path) -> str:
    """Return the column of the images' names: of several with such a name, the one that names the most images."""
    if asked is not None and asked not in columns:
        raise UserError(f"--image-column must be a column of {file} ({', '.join(columns)}), but got {asked!r}")
    known = [asked] if asked else [name for name in columns if known_as("image", name)]
    if not known:
        raise UserError(f"no column of {file} is known as the image: pass --image-column, one of {', '.join(columns)}")
    return max(known, key=lambda name: sum(not images.find(value).reason for value in columns[name]))


def _patient_columns(columns: _Columns, asked: str | None, image: str, file: Path) -> list[str]:
    """Return the columns of the patients, as training recognises them: of several, those that name several patients."""
    if asked is not None:
        if asked not in columns:
            raise UserError(f"--group-column must be a column of {file} ({', '.join(columns)}), but got {asked!r}")
        return [asked]
    known = groups_to_predict({name: values for name, values in columns.items() if name != image})
    return [name for name in known if count_patients(columns[name]) > 1] or known


def _passed_on(
    columns: _Columns, asked: Sequence[str] | None, groups: Sequence[str], patients: Sequence[str] | None, file: Path
) -> tuple[_Columns, list[str]]:
    """Return the columns to pass on, and notes that name these and the others."""
    if asked is not None:
        if unknown := [name for name in asked if name not in columns]:
            raise UserError(f"--columns must name columns of {file} ({', '.join(columns)}), but got {unknown[0]!r}")
        return {name: columns[name] for name in asked}, []
    others = {name: values for name, values in columns.items() if not known_as("image", name)}
    reasons = {
        name: "the patients" if name in groups else identifying_reason(name, values, patients)
        for name, values in others.items()
    }
    kept = {name: values for name, values in others.items() if not reasons[name]}
    notes = [f"columns passed on to the output: {', '.join(kept) or _NO_COLUMN}"]
    if left := [f"{name} ({reason})" for name, reason in reasons.items() if reason]:
        notes.append(f"columns left out, because they may identify a person: {', '.join(left)}; --columns names others")
    return kept, notes
