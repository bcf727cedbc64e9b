"""A folder of images whose labels, groups and splits are in a table."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.fact import Fact
from trainables.core.data.readers.image_entries import ImageEntries, files_or_patients, list_images
from trainables.core.data.readers.image_files import unread_files
from trainables.core.data.readers.patient_names import describe_alike, names_patient
from trainables.core.data.readers.tables.label_columns import (
    LabelTable,
    choose_columns,
    describe_columns,
    is_known_patient,
)
from trainables.core.data.readers.tables.label_sets import (
    LabelReading,
    choose_reading,
    join_columns,
)
from trainables.core.data.readers.tables.named_images import NO_IMAGE, NamedImages
from trainables.core.data.readers.tables.row_matches import (
    RowMatches,
    check_no_findings,
    match_rows,
    matching_notes,
    repeat_notes,
    unlisted,
)
from trainables.core.data.readers.tables.split_columns import Row, check_every_split, folder_splits
from trainables.core.data.readers.tables.table_files import TABLE_SUFFIXES, read_table
from trainables.core.data.readers.tables.unknown_labels import check_known
from trainables.core.data.readers.untrusted_files import listed, printable
from trainables.core.data.source import SPLIT_NAMES, Source, numbered
from trainables.core.errors import DataError

_MOST_CLASSES = 1000


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
    merged = join_columns(table, columns, rows, place)
    columns, rows = merged.columns, merged.rows
    chosen = choose_columns(merged.table, columns, rows, named, place)
    reading = choose_reading([row[chosen["label"]] for row in rows], merged.joined, chosen["label"], place)
    matches = match_rows(rows, chosen, named, reading)
    check_no_findings(matches, chosen["label"], place)
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
    if not split:
        found = {key: of_folder for (index, key), of_folder in zip(entries, of_folders, strict=True) if index >= 0}
        remedy = f"move it, or write the splits into a column split of {place}"
        check_every_split(found, f"the folder of each image in {root}", remedy)
    of_files = _keys_of_files(entries, images)
    by_table = _with_patients(of_files, [row[group] for row in firsts]) if group else of_files
    # One patient may have several visits and lesions, so their columns only decide if the user names one.
    is_finer = group is not None and table.group is None and not is_known_patient(group)
    keys = _coarser(of_files, by_table) if is_finer else by_table
    ignored = chosen.pop("group") if keys is not by_table else None
    return Source(
        class_names=class_names,
        labels=encoded,
        published=np.array(published, dtype=np.str_),
        groups=numbered(keys),
        names=[printable(key) if index < 0 else names[index] for index, key in entries],
        read_bytes=lambda index: images.read(positions[index]),
        has_patient=_have_patients(keys, positions, images),
        files=[Path(key).name for _, key in entries],
        unread=unread_files(root.absolute(), {*(root.absolute() / file for file in images.files), *files}),
        unlisted=len(unlisted(matches, named)),
        unreadable=unusable,
        metadata={
            **{name: [values[index] for index in positions] for name, values in images.metadata.items()},
            **{name: [row[name] for row in firsts] for name in columns if name not in chosen.values()},
        },
        notes=(
            *describe_columns(chosen, columns, rows),
            *([Fact("the folders of the images give the published splits")] if not split and any(published) else []),
            *reading.describe(labels, encoded, class_names),
            *matching_notes(matches, named, place),
            *repeat_notes(matches, [name for name in columns if name not in chosen.values()], place),
            *(describe_alike(group, [row[group] for row in rows]) if group and not ignored else ()),
            *([f"column {ignored} does not group images, because the image files name patients"] if ignored else []),
            *images.notes,
        ),
        slicing=images.slicing,
        patients=[] if keys is not of_files else [images.patients[index] if index >= 0 else "" for index in positions],
    )


def _keys_of_files(entries: Sequence[tuple[int, str]], images: ImageEntries) -> list[Hashable]:
    """Return a key for each entry that images of one patient or file share, as the files say. No key is text."""
    return [(key,) if index < 0 else int(images.groups[index]) for index, key in entries]


def _have_patients(keys: Sequence[Hashable], positions: Sequence[int], images: ImageEntries) -> list[bool]:
    """Return which entries are of a patient that the table, whose patients are the keys of text, or a file names."""
    entries = list(zip(keys, positions, strict=True))
    named = [isinstance(key, str) or (index >= 0 and images.has_patient[index]) for key, index in entries]
    return files_or_patients(named, [0 if index < 0 else images.frames[index] for index in positions])


def _coarser(of_files: list[Hashable], by_table: list[Hashable]) -> list[Hashable]:
    """Return the keys of the table if its groups consist of whole groups of the files, else those of the files.

    A patient of the files has several visits in the table. A volume is a part of one.
    """
    is_whole = len({*zip(of_files, by_table, strict=True)}) == len({*of_files})
    return by_table if is_whole else of_files


def _with_patients(of_files: Sequence[Hashable], patients: Sequence[str]) -> list[Hashable]:
    """Return a key for each image: its patient in the table or, if unknown there, the patient of its file.

    Args:
        of_files: N keys of the groups that the files give. No key is text.
        patients: N patients in the table.
    """
    named: dict[Hashable, set[str]] = {}
    for of_file, patient in zip(of_files, patients, strict=True):
        named.setdefault(of_file, set()).update([patient] if names_patient(patient) else [])
    return [
        patient if names_patient(patient) else next(iter(named[of_file])) if len(named[of_file]) == 1 else of_file
        for of_file, patient in zip(of_files, patients, strict=True)
    ]


def _find_table(root: Path, name: str) -> Path:
    """Return the table of a name, which may be relative to the data or, if these lack it, to the working folder."""
    for file in ((root / name).absolute(), Path(name).expanduser().absolute()):
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
    in_use = [name for label in labels for name in reading.names_in(label)]
    names = {*in_use}
    check_known(names, in_use, column, place)
    numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names)
    return tuple(sorted(names, key=(lambda name: (float(name), name)) if numeric else None))


def _no_usable_row(
    root: Path, column: str, rows: Sequence[Row], matches: RowMatches, images: NamedImages, place: str
) -> str:
    """Return why no row can be used: the first reason other than a missing image, if there is one."""
    found = {name: reason for name, reason in matches.unusable.items() if reason != NO_IMAGE}
    if found:
        name, reason = next(iter(found.items()))
        return f"no row of {place} can be used, such as {printable(name)}: {reason}"
    values = listed([row[column] for row in rows])
    there = f"its images are {listed(images.names)}" if images.names else "it has no images"
    return (
        f"rows must name images in {root}, but none of {len(rows)} in {place} does ({column}: {values}; {there}): "
        "name another --image-column, or pass another folder"
    )
