"""Checks that parquet files belong together, and that none of them is missing."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainables.core.data.readers.untrusted_files import printable
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError

_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.parquet", re.IGNORECASE)


def check_one_configuration(root: Path, files: Sequence[Path]) -> None:
    """Raise DataError if parquet files lie in several folders, as those of several hub configurations do."""
    folders = {file.parent.parent if file.parent.name.lower() in SPLIT_NAMES else file.parent for file in files}
    if len(folders) > 1:
        names = sorted(str(folder.relative_to(root)) for folder in folders)
        raise DataError(
            f"the parquet files in {root} lie in several folders ({', '.join(names[:3])}), which look like several "
            "configurations of one data set: pass one of the folders as the data set"
        )


def check_shards(root: Path, files: Sequence[Path]) -> None:
    """Raise DataError if some of the files named like ``train-00000-of-00002.parquet`` are missing."""
    shards: dict[tuple[Path, int], set[int]] = {}
    for file in files:
        if found := _SHARD.fullmatch(file.name):
            shards.setdefault((file.parent / found["name"], int(found["count"])), set()).add(int(found["number"]))
    for (name, count), numbers in shards.items():
        if len(numbers) < count:
            place = printable(str(name.relative_to(root)))
            raise DataError(
                f"{place} in {root} must have {count} parquet files, as their names say, but {count - len(numbers)} "
                "are missing: copy them too"
            )
