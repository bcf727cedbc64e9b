"""Where images come from: a hub data set, the same layout as local parquet, class folders, pairs, embedded phantoms.

A source is a function from a place to ``Source``. ``open_source`` picks it by what the place is.
"""

import dataclasses
import io
import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.core.data.files import check_within, printable, read_file
from trainables.core.data.paired_sources import open_pairs
from trainables.core.data.phantoms import make_phantoms
from trainables.core.data.remote import local_copy
from trainables.core.data.source import Source, is_image
from trainables.core.errors import DataError, first_line
from trainables.core.store import Store, default_store

PHANTOMS = "phantoms"
_SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_LONGEST_NAME = 200  # MLflow's metrics, which are called after classes, have 250
_MOST_CLASSES = 10_000


def open_source(
    place: str, group_column: str | None = None, group_pattern: str | None = None, store: Store | None = None
) -> Source:
    """Opens a data set.

    Args:
        place: ``phantoms``; a folder with parquet files in the hub's layout, with class folders (with or without
            ``train/ val/ test/`` above them), or with images and masks (``open_pairs``); the URI of such a folder,
            ``s3://...``; or the name of a hub data set, ``owner/name``.
        group_column: A column of parquet and hub data sets; rows of equal value are one group, a null is none.
        group_pattern: A regular expression that is sought in each file's name: where its groups (without any: where
            the whole match) are equal, images are one group; an image in whose name it is not found has its own.
        store: Where a copy of what lies at a URI is kept; None for the node's default.

    Raises:
        DataError: There is nothing to open there, or not what a classification needs.
    """
    if place == PHANTOMS:
        source = _phantoms()
    elif "://" in place or Path(place).is_dir():
        kept = store or Store(default_store())
        source = _from_folder(local_copy(place, kept) if "://" in place else Path(place), group_column)
    elif Path(place).exists() or place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise DataError(f"a data set is a folder, a name on the hub (owner/name) or {PHANTOMS!r}, but got {place!r}")
    else:
        source = _from_hub(place, group_column)
    if group_column is not None and not source.told:
        raise DataError(f"--group-column needs parquet files or a hub data set, but {place} is neither")
    return _checked(source if group_pattern is None else grouped_by_name(source, group_pattern, place), place)


def _from_folder(root: Path, group_column: str | None) -> Source:
    pairs = open_pairs(root)
    if pairs is not None:
        return pairs
    parquet = sorted(file for file in root.rglob("*.parquet") if file.is_file())
    return _from_parquet(root, parquet, group_column) if parquet else _from_folders(root)


def _checked(source: Source, place: str) -> Source:
    if len(source) == 0:
        raise DataError(f"{place} has no images: class folders or hub-layout parquet files are expected there")
    if len(source.class_names) < 2 and source.masks is None:
        raise DataError(f"at least two classes are needed, but {place} has {len(source.class_names)}")
    for name in source.class_names:
        if printable(name) != name or not 0 < len(name) <= _LONGEST_NAME:
            rule = f"class names must be printable text of at most {_LONGEST_NAME} characters"
            raise DataError(f"{rule}, but {place} has {printable(name)[:_LONGEST_NAME]!r}: rename it")
    if len(set(source.class_names)) < len(source.class_names):
        raise DataError(f"class names must differ, but {place} has {', '.join(source.class_names)}")
    return source


def grouped_by_name(source: Source, pattern: str, place: str) -> Source:
    """The source with the groups that ``open_source`` would take from its files' names.

    Raises:
        DataError: The pattern is no regular expression, or in no name.
    """
    try:
        sought = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-pattern must be a regular expression, but {pattern!r} is none: {error}") from error
    found = [sought.search(file) for file in source.files]
    if not any(found):
        shown = next(iter(source.files), "") or "the images have none"
        raise DataError(f"--group-pattern must be found in file names, but {pattern!r} is in none of {place} ({shown})")
    keys = [(match.groups() or match.group()) if match else index for index, match in enumerate(found)]
    return dataclasses.replace(source, groups=_numbered(keys), told=True)


def _numbered(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """(N,) numbers, equal where the keys are."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _phantoms() -> Source:
    phantoms = make_phantoms()

    def png(index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(phantoms.images[index]).save(buffer, format="PNG")
        return buffer.getvalue()

    count = len(phantoms.labels)
    return Source(
        class_names=phantoms.class_names,
        labels=phantoms.labels,
        published=np.full(count, ""),
        groups=phantoms.subjects,
        names=[f"phantom {index}" for index in range(count)],
        read_bytes=png,
        told=True,
        synthetic=True,
    )


def _from_folders(root: Path) -> Source:
    splits = {child.name: alias for child in _folders(root) if (alias := _SPLIT_ALIASES.get(child.name.lower()))}
    files = [file for file in sorted(root.rglob("*")) if is_image(file.relative_to(root))]
    # (split, class, ...) or (class, ...); an image outside of these has no label, and is refused or left out by name.
    places = [
        (splits.get(parts[0], ""), parts[1:] if splits else parts) for parts in (_parts(root, file) for file in files)
    ]
    labelled = [place[0] if len(place) > 1 and (split or not splits) else None for split, place in places]
    # A class folder without images still names a class: it is then refused as too small, not silently dropped.
    parents = [root / name for name in splits] or [root]
    class_names = tuple(sorted({child.name for parent in parents for child in _folders(parent)}))
    number = {name: index for index, name in enumerate(class_names)}

    def read(index: int) -> bytes:
        check_within(root, files[index])
        return read_file(files[index])

    return Source(
        class_names=class_names,
        labels=np.array([-1 if name is None else number[name] for name in labelled], dtype=np.int64),
        published=np.array([split for split, _ in places], dtype=np.str_),
        groups=np.arange(len(files)),
        names=[printable(str(file.relative_to(root))) for file in files],
        read_bytes=read,
        files=[file.name for file in files],
    )


def _parts(root: Path, file: Path) -> tuple[str, ...]:
    return file.relative_to(root).parts


def _folders(parent: Path) -> list[Path]:
    return sorted(child for child in parent.iterdir() if child.is_dir() and not child.name.startswith("."))


def _from_parquet(root: Path, files: list[Path], group_column: str | None) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for file in files:
        # train-00000-of-00001.parquet, or test/0000.parquet as the hub converts data sets
        hints = (file.name.split(".")[0].split("-")[0].lower(), file.parent.name.lower())
        split = next((_SPLIT_ALIASES[hint] for hint in hints if hint in _SPLIT_ALIASES), "")
        try:
            check_within(root, file)
            parts.append((split, pq.ParquetFile(file).read()))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{file} is no readable parquet file: {first_line(error)}") from error
    return _from_tables(parts, str(files[0].parent), group_column)


def _from_hub(name: str, group_column: str | None) -> Source:
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:
        raise DataError(
            f"the hub data set {name!r} could not be loaded ({type(error).__name__}): "
            "download it where there is a network and pass its folder as --data DIR"
        ) from error
    # with_format("arrow") gives the stored bytes; the default would decode each image.
    parts = [(_SPLIT_ALIASES.get(split, ""), part.with_format("arrow")[:]) for split, part in loaded.items()]
    return _from_tables(parts, name, group_column)


def _from_tables(parts: list[tuple[str, Any]], place: str, group_column: str | None) -> Source:
    """Reads Arrow tables with an ``image`` struct of ``bytes`` and a ``label``, as the hub stores them."""
    for _, table in parts:
        missing = [name for name in ("image", "label") if table.column_names.count(name) != 1]
        if missing:
            raise DataError(
                f"{place}: columns image and label are needed, once, but {' and '.join(missing)} is missing or doubled"
            )
        if group_column is not None and group_column not in table.column_names:
            raise DataError(f"--group-column must be one of {', '.join(table.column_names)}, but got {group_column!r}")
        if not holds_bytes(table.schema.field("image").type):
            raise DataError(
                f"{place}: the column image must hold encoded bytes, but it is {table.schema.field('image').type}"
            )
    labels = np.concatenate([_labels(table, place) for _, table in parts])
    groups = np.arange(len(labels))
    if group_column is not None:
        values = [value for _, table in parts for value in table.column(group_column).to_pylist()]
        groups = _numbered([(index,) if value is None else str(value) for index, value in enumerate(values)])
    images = [row for _, table in parts for chunk in table.column("image").chunks for row in chunk.field("bytes")]
    names = [f"{split or place} row {row}" for split, table in parts for row in range(len(table))]
    return Source(
        class_names=_class_names([table.schema for _, table in parts], labels, place),
        labels=labels,
        published=np.concatenate([np.full(len(table), split, dtype="<U5") for split, table in parts]),
        groups=groups,
        names=names,
        read_bytes=lambda index: images[index].as_py() or b"",
        told=group_column is not None,
        files=_file_names(parts),
    )


def holds_bytes(kind: Any) -> bool:
    """Whether an Arrow type is the hub's of an encoded image: a struct with binary ``bytes``."""
    from pyarrow import types

    return bool(
        types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and types.is_binary(kind.field("bytes").type)
    )


def _file_names(parts: list[tuple[str, Any]]) -> list[str]:
    """The names that the hub keeps in the image struct's ``path``."""
    names = []
    for _, table in parts:
        for chunk in table.column("image").chunks:
            known = chunk.type.get_field_index("path") >= 0
            names += [Path(path or "").name for path in chunk.field("path").to_pylist()] if known else [""] * len(chunk)
    return names


def _labels(table: Any, place: str) -> NDArray[np.int64]:
    from pyarrow import types

    kind = table.schema.field("label").type
    if not (types.is_integer(kind) or types.is_null(kind)):
        raise DataError(f"{place}: labels must be whole numbers, but they are {kind}")
    labels = np.asarray(table.column("label").cast("int64", safe=False).fill_null(-1).to_numpy(), dtype=np.int64)
    if labels.max(initial=-1) >= _MOST_CLASSES:
        raise DataError(f"{place}: labels must number the classes from 0, but one is {labels.max()}")
    return labels


def _class_names(schemas: Sequence[Any], labels: NDArray[np.int64], place: str) -> tuple[str, ...]:
    named = {_declared_names(schema) for schema in schemas}
    if len(named) > 1:
        raise DataError(f"{place}: all files must name the same classes in the same order, but they differ")
    names = named.pop()
    if names is None:
        return tuple(f"class_{index}" for index in range(int(labels.max(initial=-1)) + 1))
    if int(labels.max(initial=-1)) >= len(names):
        raise DataError(
            f"{place}: labels must be below {len(names)} (the class names it gives), but one is {labels.max()}"
        )
    return names


def _declared_names(schema: Any) -> tuple[str, ...] | None:
    """The class names that the hub stores in a table's metadata, or None."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get("label", {}).get("names")
        return None if names is None else tuple(map(str, names))
    except (ValueError, AttributeError, TypeError, RecursionError):  # it is not as the hub writes it
        return None
