"""Rows of the output: all images, or those that a table names, and the patient of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trainables.core.data.readers.unlabelled import Part
from trainables.core.serving.score_images import ScoredImage
from tuning.predict.image_patients import Patients, PatientSource, describe_patients, patients_of
from tuning.predict.table_rows import Entry, TableRows


@dataclass(frozen=True)
class OutputRows:
    """Rows of the output, in order, one for each image.

    Attributes:
        count: Number of rows.
        table: Table whose rows they are; None for all images.
        entries: Row of the table and image of each; empty without a table.
        patients: Patient of each; None if the output has no row per patient.
        notes: Notes on the patients.
    """

    count: int
    table: TableRows | None
    entries: Sequence[Entry]
    patients: Sequence[str] | None = None
    notes: Sequence[str] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that go along with the predictions."""
        return () if self.table is None else tuple(self.table.columns)

    def scored(self, rows: Iterator[ScoredImage]) -> Iterator[ScoredImage]:
        """Yield the predictions of the rows, from those of all images of the parts."""
        return rows if self.table is None else self.table.scored(rows, self.entries)

    def cells_of_images(self) -> Iterator[tuple[str, ...]]:
        """Yield the cells of each row that go along with its prediction."""
        for number in range(self.count):
            yield () if self.table is None else self.table.values(self.entries[number].row)

    def cells_of_patients(self) -> dict[str, tuple[str, ...]]:
        """Return the cells of each patient that go along with its prediction."""
        assert self.patients is not None
        if self.table is None:
            return dict.fromkeys(self.patients, ())
        return self.table.values_of_patients(self.entries, self.patients)


def output_rows(parts: Sequence[Part], table: TableRows | None, source: PatientSource | None) -> OutputRows:
    """Return the rows of the output.

    Args:
        parts: Images to score.
        table: Table whose rows are predicted; None for all images.
        source: The user's statement about patients; None for a row per image. If it names no patients, a table does.

    Raises:
        DataError, UserError: The patients are unknown.
    """
    entries = () if table is None else table.entries(parts)
    count = sum(part.images for part in parts) if table is None else len(entries)
    if source is None:
        return OutputRows(count, table, entries)
    patients = patients_of(parts, source) if table is None else _patients_of_rows(parts, table, entries, source)
    return OutputRows(count, table, entries, patients.of_images, describe_patients(parts, patients))


def _patients_of_rows(
    parts: Sequence[Part], table: TableRows, entries: Sequence[Entry], source: PatientSource
) -> Patients:
    """Return the patients of rows. A row without an image is a patient of its own."""
    if table.patients is None or source != PatientSource():
        of_images = patients_of(parts, source)
        of_rows = [table.names[one.row] if one.image is None else of_images.of_images[one.image] for one in entries]
        return replace(of_images, of_images=of_rows)
    names = [name for part in parts for name in part.image_names]
    called = [table.names[one.row] if one.image is None else names[one.image] for one in entries]
    known = [table.patients[one.row] for one in entries]
    unknown = sum(not patient and one.image is not None for patient, one in zip(known, entries, strict=True))
    return Patients([patient or name for patient, name in zip(known, called, strict=True)], unknown)
