"""Classes, counts and sizes of a folder's images."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.core.data.audited_dataset import reading_notes
from trainables.core.data.decode.images import open_image
from trainables.core.data.labels import label_sets, membership, task_of
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.source import Source
from trainables.core.errors import DataError

_MAX_OPENED = 2000  # images whose size is read


@dataclass(frozen=True)
class FolderSummary:
    """Classes, counts and sizes of a folder's images.

    Attributes:
        place: Absolute path of the folder.
        task: Task that the labels are for.
        total: Number of labelled images.
        counts: Images per class or label.
        published: Images per published split; empty if there are none.
        opened: Number of images that were opened.
        unreadable: Number of opened images that could not be read.
        sides: Shorter side of the smallest, the median and the largest readable image, in pixels.
        files: File names.
        table: Table of the labels; None if the layout of the folder gives them.
        notes: Facts about how the folder was understood.
        groups_given: True if a column of the table gives the groups.
    """

    place: Path
    task: str
    total: int
    counts: Mapping[str, int]
    published: Mapping[str, int]
    opened: int
    unreadable: int
    sides: tuple[int, int, int]
    files: tuple[str, ...]
    table: LabelTable | None = None
    notes: tuple[str, ...] = ()
    groups_given: bool = False

    @property
    def imbalance(self) -> float:
        """Images of the largest class divided by those of the smallest class that has any."""
        present = [count for count in self.counts.values() if count]
        return max(present) / min(present)


def inspect_folder(place: Path, table: LabelTable | None = None) -> FolderSummary:
    """Summarise a folder of images. At most 2,000 of them are opened for their sizes.

    Raises:
        DataError: The path is not a folder, holds masks, or has images of fewer than two classes.
    """
    if not place.is_dir():
        raise DataError(f"DIR must be a folder of images, but {place} is not a folder: download other data first")
    place = place.resolve()  # a relative path could be mistaken for the name of a data set
    source = open_source(str(place), table=table)
    if source.masks:
        raise DataError(f"{place} holds masks: start from a copy of search_spaces/lung_segmentation_space.py")
    counts = membership(source.labels, len(source.class_names)).sum(axis=0).tolist()
    present = sum(count > 0 for count in counts)
    if present < 2:
        raise DataError(f"at least two classes must have images, but in {place} {present} of {len(counts)} do")
    splits, sizes = np.unique(source.published[source.published != ""], return_counts=True)
    sides = _shorter_sides(source)
    readable = [side for side in sides if side]
    return FolderSummary(
        place=place,
        task=task_of(source.labels),
        total=int((label_sets(source.labels) >= 0).sum()),
        counts=dict(zip(source.class_names, counts, strict=True)),
        published=dict(zip(splits.tolist(), sizes.tolist(), strict=True)),
        opened=len(sides),
        unreadable=sides.count(0),
        sides=(min(readable, default=0), int(np.median(readable)) if readable else 0, max(readable, default=0)),
        files=tuple(source.files),
        table=table,
        notes=tuple(reading_notes(source)),
        groups_given=source.groups_given,
    )


def _shorter_sides(source: Source) -> list[int]:
    """Return the shorter sides of a random subset of the images, 0 for unreadable ones."""
    chosen = np.random.default_rng(0).permutation(len(source))[:_MAX_OPENED]

    def side(index: int) -> int:
        try:
            with open_image(source.read(index)) as image:
                return min(image.size)
        except (DataError, OSError):
            return 0

    with ThreadPoolExecutor() as pool:
        return list(pool.map(side, chosen.tolist()))
