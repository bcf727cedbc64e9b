"""A folder of images whose labels, groups and splits are in a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.fact import Fact
from trainables.core.data.readers.image_entries import list_images
from trainables.core.data.readers.image_files import unread_files
from trainables.core.data.readers.patient_names import alike_patients, describe_unknown, names_patient
from trainables.core.data.readers.tables.label_columns import LabelTable, choose_columns, describe_columns
from trainables.core.data.readers.tables.label_sets import (
    SEPARATOR,
    LabelReading,
    choose_reading,
    join_columns,
)
from trainables.core.data.readers.tables.named_images import NO_IMAGE, NamedImages
from trainables.core.data.readers.tables.split_columns import Row, folder_splits
from trainables.core.data.readers.tables.table_files import TABLE_SUFFIXES, read_table
from trainables.core.data.readers.untrusted_files import listed, printable
from trainables.core.data.source import SPLIT_NAMES, Source, numbered
from trainables.core.errors import DataError

_MOST_CLASSES = 1000
_FINDINGS, _FINDINGS_SHARE = 10, 0.05  # images with several labels that are no errors but a table of findings


@dataclass(frozen=True)
class _Matches:
    """Images that the rows of a table name.

    Attributes:
        rows: Rows by the path of their image, or by the name they give if it has no image.
        unusable: Reason why an image cannot be used, by the same key.
        inexact: Matches that ignore case or leading zeros, for a note.
    """

    rows: Mapping[str, Sequence[Row]]
    unusable: Mapping[str, str]
    inexact: Sequence[str]


def open_table(root: Path, table: LabelTable, slicing: Slicing | None = None) -> Source:
    """Open a folder of images, at any depth, that a table labels.

    Each row's image is found as described in ``NamedImages``. An image with a missing or contradicting label, and a
    row without an image, become unusable images with that reason. Images without a row are left out. All frames of a
    file have the label of its row.

    Raises:
        DataError: A table or column is missing or ambiguous, or no row has an image.
    """
    files = [_find_table(root, name) for name in table.files]
    place = ", ".join(file.name for file in files)
    columns, rows = _read_tables(files, named_splits=len(files) > 1 and table.split is None)
    images = list_images(root, slicing)
    names = images.names
    named = NamedImages(root, sorted(set(images.files)))
    joined = join_columns(table, columns, rows, place)
    columns, rows = joined.columns, joined.rows
    chosen = choose_columns(joined.table, columns, rows, named, place)
    reading = choose_reading([row[chosen["label"]] for row in rows], joined.joined, chosen["label"], place)
    matches = _match(rows, chosen, named, reading)
    _check_no_findings(matches, chosen["label"], place)
    if len(matches.unusable) == len(matches.rows):
        raise DataError(_no_usable_row(root, chosen["image"], rows, matches, named, place))

    frames: dict[str, list[int]] = {}
    for index, file in enumerate(images.files):
        frames.setdefault(file.as_posix(), []).append(index)
    # Position in `images`, or -1 for a row without an image, and the key in `matches`.
    entries = [(index, key) for key in sorted(matches.rows) for index in frames.get(key, [-1])]
    positions = [index for index, _ in entries]
    firsts = [matches.rows[key][0] for _, key in entries]
    unusable = {index: matches.unusable[key] for index, (_, key) in enumerate(entries) if key in matches.unusable}
    labels = ["" if index in unusable else row[chosen["label"]] for index, row in enumerate(firsts)]
    all_labels = [matches.rows[key][0][chosen["label"]] for key in matches.rows]
    class_names = _class_names(labels, all_labels, reading, chosen["label"], place)
    encoded = reading.encode(labels, class_names)
    split, group = chosen.get("split"), chosen.get("group")
    of_folders = folder_splits([Path(key) for _, key in entries])
    published = [SPLIT_NAMES.get(row[split].lower(), "") for row in firsts] if split else of_folders
    groups = images.groups if group is None else None
    return Source(
        class_names=class_names,
        labels=encoded,
        published=np.array(published, dtype=np.str_),
        groups=numbered(
            [
                row[group]
                if group and names_patient(row[group])
                else (key,)
                if groups is None or index < 0
                else int(groups[index])
                for (index, key), row in zip(entries, firsts, strict=True)
            ]
        ),
        names=[printable(key) if index < 0 else names[index] for index, key in entries],
        read_bytes=lambda index: images.read(positions[index]),
        groups_given=group is not None or groups is not None,
        files=[Path(key).name for _, key in entries],
        unread=unread_files(root.absolute(), {*(root.absolute() / file for file in images.files), *files}),
        unlisted=len(_unlisted(matches, named)),
        unreadable=unusable,
        metadata={
            **{name: [values[index] for index in positions] for name, values in images.metadata.items()},
            **{name: [row[name] for row in firsts] for name in columns if name not in chosen.values()},
        },
        notes=(
            *describe_columns(chosen, columns, rows),
            *([Fact("the folders of the images give the published splits")] if not split and any(published) else []),
            *reading.describe(labels, encoded, class_names),
            *_matching_notes(matches, named, place),
            *_repeat_notes(matches, [name for name in columns if name not in chosen.values()], place),
            *_group_notes([row[group] for row in rows] if group else [], chosen),
            *describe_unknown(sum(not names_patient(row[group]) for row in firsts) if group else 0),
            *images.notes,
        ),
        slicing=images.slicing,
        patients=[] if group else [images.patients[index] if index >= 0 else "" for index in positions],
    )


def _match(rows: Sequence[Row], chosen: Mapping[str, str], images: NamedImages, reading: LabelReading) -> _Matches:
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
    return _Matches(by_image, unusable, inexact)


def _check_no_findings(matches: _Matches, column: str, place: str) -> None:
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


def _matching_notes(matches: _Matches, images: NamedImages, place: str) -> list[str]:
    notes = []
    if matches.inexact:
        examples = listed(matches.inexact)
        notes.append(f"{len(matches.inexact)} names match only without leading zeros or upper case ({examples})")
    if unlisted := _unlisted(matches, images):
        named = listed(unlisted)
        notes.append(Fact(f"images without a row in {place}, which are not used: {len(unlisted)} ({named})"))
    return notes


def _unlisted(matches: _Matches, images: NamedImages) -> list[str]:
    """Return the names of images that have no row."""
    return sorted(set(images.names) - matches.rows.keys())


def _repeat_notes(matches: _Matches, others: Sequence[str], place: str) -> list[str]:
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
    differences = (
        f"; the rows of {len(differing)} images differ in other columns, and the first row counts ({listed(examples)})"
    )
    rows = sum(len(rows) - 1 for rows in repeated.values())
    return [f"{rows} rows of {place} repeat an image ({listed(sorted(repeated))})" + differences * bool(differing)]


def _group_notes(groups: Sequence[str], chosen: Mapping[str, str]) -> list[str]:
    """Name the groups that may be one patient: their names differ only in case or leading zeros."""
    alike = [" and ".join(names) for names in alike_patients(groups)]
    if not alike:
        return []
    return [
        f"{len(alike)} groups in {chosen['group']} have several spellings ({listed(sorted(alike))}), which count as "
        "different groups: write them alike if they are the same"
    ]


def _find_table(root: Path, name: str) -> Path:
    for file in (Path(name).expanduser().absolute(), (root / name).absolute()):
        if file.is_file():
            return file
    near = sorted(file.name for file in root.iterdir() if file.suffix.lower() in TABLE_SUFFIXES)
    hint = f", which has {listed(near)}" if near else ""
    raise DataError(f"--labels must be a file, but {name} neither exists nor is in {root}{hint}")


def _read_tables(files: Sequence[Path], *, named_splits: bool) -> tuple[list[str], list[Row]]:
    """Return the columns of all tables and their rows. A value is "" if a table lacks the column."""
    rows: list[dict[str, str]] = []
    for file in files:
        columns = read_table(file)
        hint = re.split(r"[-_.]", file.name)[0].lower()
        if named_splits and hint not in SPLIT_NAMES:
            raise DataError(
                f"each of several tables must be named after its split (train, val or test), but got {file.name}: "
                "rename it, or name the column of splits with --split-column"
            )
        if named_splits and "split" in columns:
            raise DataError(
                f"several tables are split by their names, but {file.name} also has a column split: "
                "pass --split-column split to use the column, or remove it"
            )
        splits = {"split": hint} if named_splits else {}
        rows += [dict(zip(columns, row, strict=True)) | splits for row in zip(*columns.values(), strict=True)]
    columns_of_all = list(dict.fromkeys(name for row in rows for name in row))
    return columns_of_all, [{name: row.get(name, "") for name in columns_of_all} for row in rows]


def _contradiction(rows: Sequence[Row], chosen: Mapping[str, str]) -> str:
    """Return the reason why the rows of one image contradict each other, or ""."""
    for role, plural in (("label", "labels"), ("group", "groups"), ("split", "splits")):
        values = sorted({row[chosen[role]] for row in rows}) if role in chosen else []
        if len(values) > 1:
            return f"has {len(rows)} rows with different {plural}: {', '.join(value or 'none' for value in values)}"
    return ""


def _class_names(
    labels: Sequence[str], all_labels: Sequence[str], reading: LabelReading, column: str, place: str
) -> tuple[str, ...]:
    """Return the names in the labels in use. ``all_labels`` also has those of rows without an image."""
    names, labelled = {name for label in all_labels for name in reading.names_in(label)}, sum(map(bool, all_labels))
    if not names:
        raise DataError(f"column {column} of {place} must have the labels, but it is empty")
    if len(names) > min(_MOST_CLASSES, labelled / 2):
        raise DataError(
            f"there must be at most {_MOST_CLASSES} classes, and two images per class on average, but column {column} "
            f"of {place} has {len(names)} values for {labelled} images: name another one with --label-column"
        )
    names = {name for label in labels for name in reading.names_in(label)}
    numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names)
    return tuple(sorted(names, key=(lambda name: (float(name), name)) if numeric else None))


def _no_usable_row(
    root: Path, column: str, rows: Sequence[Row], matches: _Matches, images: NamedImages, place: str
) -> str:
    """Return the reason why no row can be used: that of the first one, if any is not a missing image."""
    found = {name: reason for name, reason in matches.unusable.items() if reason != NO_IMAGE}
    if found:
        name, reason = next(iter(found.items()))
        return f"no row of {place} can be used, such as {printable(name)}: {reason}"
    values = listed([row[column] for row in rows])
    there = f"its images are {listed(images.names)}" if images.names else "it has no images"
    return (
        f"rows must name images in {root}, but none of {len(rows)} in {place} does ({column}: {values}; {there}): "
        "pass another --image-column or --data"
    )
