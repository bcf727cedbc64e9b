"""Rows of a table, matched to the images that they name, and notes on what the match found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainables.core.data.fact import Fact
from trainables.core.data.readers.tables.label_sets import SEPARATOR, LabelReading
from trainables.core.data.readers.tables.named_images import NamedImages
from trainables.core.data.readers.tables.split_columns import Row
from trainables.core.data.readers.untrusted_files import listed, printable
from trainables.core.errors import DataError
from trainables.core.plural import plural

_FINDINGS, _FINDINGS_SHARE = 10, 0.05  # images with several labels that are no errors but a table of findings


@dataclass(frozen=True)
class RowMatches:
    """Images that the rows of a table name.

    Attributes:
        rows: Rows by the path of their image, or by the name they give if it has no image.
        unusable: Reason why an image cannot be used, by the same key.
        inexact: Matches that ignore case or leading zeros, for a note.
    """

    rows: Mapping[str, Sequence[Row]]
    unusable: Mapping[str, str]
    inexact: Sequence[str]


def match_rows(
    rows: Sequence[Row], chosen: Mapping[str, str], images: NamedImages, reading: LabelReading
) -> RowMatches:
    """Find the image of each row."""
    by_image: dict[str, list[Row]] = {}
    unusable: dict[str, str] = {}
    inexact = []
    for number, row in enumerate(rows, 1):
        name, reason, exact = images.find(row[chosen["image"]])
        name = name or f"row {number}"
        by_image.setdefault(name, []).append(row)
        if reason:
            unusable[name] = reason
        elif not exact:
            inexact.append(f"{row[chosen['image']]} is {name}")
    for name in by_image.keys() - unusable.keys():
        if reason := _contradiction(by_image[name], chosen) or reading.fault(by_image[name][0][chosen["label"]]):
            unusable[name] = reason
    return RowMatches(by_image, unusable, inexact)


def _contradiction(rows: Sequence[Row], chosen: Mapping[str, str]) -> str:
    """Return the reason why the rows of one image contradict each other, or ""."""
    for role in ("label", "group", "split"):
        values = sorted({row[chosen[role]] for row in rows}) if role in chosen else []
        if len(values) > 1:
            return f"has {len(rows)} rows with different {role}s: {', '.join(value or 'none' for value in values)}"
    return ""


def check_no_findings(matches: RowMatches, column: str, place: str) -> None:
    """Raise DataError if many images have rows with different labels, as in tables with a row for each finding."""
    labels = {name: {row[column] for row in rows} for name, rows in matches.rows.items()}
    several = sorted(name for name, of_image in labels.items() if len(of_image) > 1)
    if len(several) >= max(_FINDINGS, _FINDINGS_SHARE * len(labels)):
        example = several[0]
        together = SEPARATOR.join(sorted(labels[example] - {""}))
        raise DataError(
            f"{len(several)} of {len(labels)} images in {place} have rows with different labels in {column}, as if it "
            f"had a row for each finding or reader: write one row for each image, with all its labels, such as "
            f"{printable(together)} for {printable(example)}"
        )


def matching_notes(matches: RowMatches, images: NamedImages, place: str) -> list[str]:
    """Return notes on names that match inexactly, and on images without a row."""
    notes: list[str] = []
    if matches.inexact:
        examples = listed(matches.inexact)
        counted = plural(len(matches.inexact), "name matches", "names match")
        notes.append(f"{counted} only without leading zeros or upper case ({examples})")
    if missing := unlisted(matches, images):
        named = listed(missing)
        notes.append(Fact(f"images without a row in {place}, which are not used: {len(missing)} ({named})"))
    return notes


def unlisted(matches: RowMatches, images: NamedImages) -> list[str]:
    """Return the names of images that have no row."""
    return sorted(set(images.names) - matches.rows.keys())


def repeat_notes(matches: RowMatches, others: Sequence[str], place: str) -> list[str]:
    """Count the rows that repeat an image, and name the images whose rows differ in a column of metadata."""
    repeated = {name: rows for name, rows in matches.rows.items() if len(rows) > 1}
    if not repeated:
        return []
    differing = {
        name: columns
        for name, rows in sorted(repeated.items())
        if (columns := [column for column in others if len({row[column] for row in rows}) > 1])
    }
    examples = [f"{name}: {', '.join(columns)}" for name, columns in differing.items()]
    images = plural(len(differing), "image")
    differences = f"; rows of {images} differ in other columns, and the first row counts ({listed(examples)})"
    rows = sum(len(rows) - 1 for rows in repeated.values())
    counted = plural(rows, f"row of {place} repeats", f"rows of {place} repeat")
    return [f"{counted} an image ({listed(sorted(repeated))})" + differences * bool(differing)]
