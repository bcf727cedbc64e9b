"""Rows of the output: all images, or those that a table names, and the patient of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainables.core.data.readers.unlabelled import Part
from trainables.core.serving.score_images import ScoredImage
from tuning.predict.image_patients import PatientSource, patients_of
from tuning.predict.table_rows import Entry, TableRows


@dataclass(frozen=True)
class OutputRows:
    """Rows of the output, in order, one for each image.

    Attributes:
        count: Number of rows.
        table: Table whose rows they are; None for all images.
        entries: Row of the table and image of each; empty without a table.
        patients: Patient of each; None if the output has no row per patient.
    """

    count: int
    table: TableRows | None
    entries: Sequence[Entry]
    patients: Sequence[str] | None

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
    names = [name for part in parts for name in part.image_names]
    if table is None:
        return OutputRows(len(names), None, (), None if source is None else patients_of(parts, source))
    entries = table.entries(parts)
    if source is None:
        return OutputRows(len(entries), table, entries, None)
    of_table = table.patients if source == PatientSource() else None
    of_images = patients_of(parts, source) if of_table is None else []

    def patient(entry: Entry) -> str:
        """Return the patient of a row; an image without one, or a row without an image, is one of its own."""
        if of_table is not None and of_table[entry.row]:
            return of_table[entry.row]
        if entry.image is None:
            return table.names[entry.row]
        return names[entry.image] if of_table is not None else of_images[entry.image]

    return OutputRows(len(entries), table, entries, list(map(patient, entries)))
