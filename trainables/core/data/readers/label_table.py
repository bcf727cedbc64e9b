"""A folder of images whose labels, groups and splits are in a table."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.core.data.readers.image_files import is_image, unread_files
from trainables.core.data.readers.named_images import NamedImages
from trainables.core.data.readers.table_files import TABLE_SUFFIXES, read_table
from trainables.core.data.readers.untrusted_files import check_within, printable, read_file
from trainables.core.data.source import SPLIT_NAMES, Source, numbered
from trainables.core.errors import DataError

# Names of columns, in lower case and reduced to letters and digits.
_RECOGNISED = {
    "image": "image images imageid imagename imageindex imagepath imagefile img imgid imgname imgpath file filename "
    "filepath path idcode",
    "label": "label labels class classname diagnosis finding findinglabel category target dx",
    "group": "patient patientid patientno subject subjectid person personid participant participantid",
    "split": "split fold subset partition",
}
_MOST_CLASSES = 1000
_SHOWN = 3
Row = Mapping[str, str]


@dataclass(frozen=True)
class LabelTable:
    """Tables with a row per image, and the columns to use. None leaves a column to be recognised by its name.

    Attributes:
        files: Paths of the tables, also relative to the data folder. If there are several, each is named after its
            split, as in ``train.csv`` and ``test.csv``.
        image: Column of file names, with or without folders and suffix.
        label: Column of class names.
        group: Column of patients. Images with equal values stay together; an empty value is a group of its own.
        split: Column of published splits, such as ``train`` and ``test``.
    """

    files: tuple[str, ...]
    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None


def open_table(root: Path, table: LabelTable) -> Source:
    """Open a folder of images, at any depth, that a table labels.

    Each row's image is found as described in ``NamedImages``. An image with a missing or contradicting label, and a
    row without an image, become unusable images with that reason. Images without a row are left out.

    Raises:
        DataError: A table or column is missing or ambiguous, or no row has an image.
    """
    files = [_find_table(root, name) for name in table.files]
    place = ", ".join(file.name for file in files)
    columns, rows = _read_tables(files, named_splits=len(files) > 1 and table.split is None)
    images = NamedImages(root, [file for file in sorted(root.rglob("*")) if is_image(file.relative_to(root))])
    chosen = _choose_columns(table, columns, rows, images, place)
    found: dict[str, list[Row]] = {}
    unreadable: dict[str, str] = {}
    inexact = []
    for row in rows:
        name, reason, exact = images.find(row[chosen["image"]])
        found.setdefault(name, []).append(row)
        if reason:
            unreadable[name] = reason
        elif not exact:
            inexact.append(f"{row[chosen['image']]} is {name}")
    if len(unreadable) == len(found):
        raise DataError(_no_image(root, chosen["image"], rows, images, place))
    for name in found.keys() - unreadable.keys():
        if reason := _contradiction(found[name], chosen):
            unreadable[name] = reason
    names = sorted(found)
    firsts = [found[name][0] for name in names]
    labels = ["" if name in unreadable else row[chosen["label"]] for name, row in zip(names, firsts, strict=True)]
    class_names = _class_names(labels, chosen["label"], place)
    number = {label: index for index, label in enumerate(class_names)}
    split, group = chosen.get("split"), chosen.get("group")

    def read(index: int) -> bytes:
        check_within(root, root / names[index])
        return read_file(root / names[index])

    unused = sorted(set(images.names) - found.keys())
    notes = [_describe_columns(chosen, columns, rows)]
    if len(rows) > len(found):
        notes.append(f"{len(rows) - len(found)} rows of {place} repeat an image")
    if inexact:
        notes.append(f"{len(inexact)} names match only without leading zeros or upper case ({_listed(inexact)})")
    if unused:
        notes.append(f"{len(unused)} images have no row in {place} and are not used ({_listed(unused)})")
    return Source(
        class_names=class_names,
        labels=np.array([number.get(label, -1) for label in labels], dtype=np.int64),
        published=np.array([SPLIT_NAMES.get(row[split].lower(), "") if split else "" for row in firsts], dtype=np.str_),
        groups=numbered([(index,) if not (group and row[group]) else row[group] for index, row in enumerate(firsts)]),
        names=[printable(name) for name in names],
        read_bytes=read,
        groups_given=group is not None,
        files=[Path(name).name for name in names],
        unread=unread_files(root, lambda name: is_image(name) or root / name in files),
        unreadable={index: unreadable[name] for index, name in enumerate(names) if name in unreadable},
        metadata={name: [row[name] for row in firsts] for name in columns if name not in chosen.values()},
        notes=tuple(notes),
    )


def _find_table(root: Path, name: str) -> Path:
    for file in (Path(name).expanduser().absolute(), root / name):
        if file.is_file():
            return file
    near = sorted(file.name for file in root.iterdir() if file.suffix.lower() in TABLE_SUFFIXES)
    hint = f", which has {_listed(near)}" if near else ""
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
        splits = {"split": hint} if named_splits else {}
        rows += [dict(zip(columns, row, strict=True)) | splits for row in zip(*columns.values(), strict=True)]
    columns_of_all = list(dict.fromkeys(name for row in rows for name in row))
    return columns_of_all, [{name: row.get(name, "") for name in columns_of_all} for row in rows]


def _choose_columns(
    table: LabelTable, columns: Sequence[str], rows: Sequence[Row], images: NamedImages, place: str
) -> dict[str, str]:
    """Return the columns in use: ``image``, ``label`` and, if there are any, ``group`` and ``split``.

    Raises:
        DataError: A column that the user named does not exist, or none or several could be the right one.
    """
    chosen: dict[str, str] = {}
    for role, known in _RECOGNISED.items():
        asked = getattr(table, role)
        if asked is not None and asked not in columns:
            near = difflib.get_close_matches(asked, columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"--{role}-column must be one of {', '.join(columns)}, but got {asked!r}{hint}")
        found = [name for name in columns if re.sub(r"[^a-z0-9]", "", name.lower()) in known.split()]
        if role == "image":  # an image's identifier and its path may both be there
            found = sorted(found, key=lambda name: -sum(not images.find(row[name]).reason for row in rows))[:1]
        if role == "split":
            found = [name for name in found if all(row[name].lower() in {"", *SPLIT_NAMES} for row in rows)]
        if asked is None and len(found) > 1:
            raise DataError(
                f"{place} has several columns that could be the {role} ({', '.join(found)}): pass --{role}-column"
            )
        if asked is not None or found:
            chosen[role] = asked or found[0]
        elif role in ("image", "label"):
            raise DataError(f"no column of {place} is known as the {role}: pass --{role}-column, {_one_of(columns)}")
    split = chosen.get("split")
    other = sorted({row[split] for row in rows} - {""}) if split else []
    other = [value for value in other if value.lower() not in SPLIT_NAMES]
    if other:
        raise DataError(f"--split-column must hold {_one_of(SPLIT_NAMES)}, but {split} has {_listed(other)}")
    doubled = [name for name in chosen.values() if list(chosen.values()).count(name) > 1]
    if doubled:
        raise DataError(f"each column must have one meaning, but {doubled[0]} is named twice")
    return chosen


def _contradiction(rows: Sequence[Row], chosen: Mapping[str, str]) -> str:
    """Return the reason why the rows of one image contradict each other, or ""."""
    for role, plural in (("label", "labels"), ("group", "groups"), ("split", "splits")):
        values = sorted({row[chosen[role]] for row in rows}) if role in chosen else []
        if len(values) > 1:
            return f"has {len(rows)} rows with different {plural}: {', '.join(value or 'none' for value in values)}"
    return ""


def _class_names(labels: Sequence[str], column: str, place: str) -> tuple[str, ...]:
    names, labelled = set(labels) - {""}, sum(map(bool, labels))
    if len(names) > min(_MOST_CLASSES, labelled / 2):
        raise DataError(
            f"there must be at most {_MOST_CLASSES} classes, and two images per class on average, but column {column} "
            f"of {place} has {len(names)} values for {labelled} images: name another one with --label-column"
        )
    numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names)
    return tuple(sorted(names, key=(lambda name: (float(name), name)) if numeric else None))


def _describe_columns(chosen: Mapping[str, str], columns: Sequence[str], rows: Sequence[Row]) -> str:
    used = ", ".join(f"{role} = {name}" for role, name in chosen.items())
    others = [name for name in columns if name not in chosen.values()]
    counted = ", ".join(f"{name} ({len({row[name] for row in rows})} values)" for name in others)
    return f"columns of the table: {used}" + (f"; not used for training: {counted}" if others else "")


def _no_image(root: Path, column: str, rows: Sequence[Row], images: NamedImages, place: str) -> str:
    values = _listed([row[column] for row in rows])
    there = f"its images are {_listed(images.names)}" if images.names else "it has no images"
    return (
        f"rows must name images in {root}, but none of {len(rows)} in {place} does ({column}: {values}; {there}): "
        "pass another --image-column or --data"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_SHOWN])) + ", ..." * (len(names) > _SHOWN)


def _one_of(names: Sequence[str] | Mapping[str, str]) -> str:
    return f"one of {', '.join(names)}"
