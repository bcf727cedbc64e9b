"""Images to predict by the names that tables use for them."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainables.core.data.readers.parquet.parquet_files import splits_of
from trainables.core.data.readers.tables.named_images import NO_IMAGE, FoundImage, NamedImages
from trainables.core.data.readers.unlabelled import Part

_FRAME = re.compile(r" (frame|slice) \d+$")


class PartNames:
    """Lookup of the images of parts. A key stands for an image: for all frames of its file, or a row of parquet."""

    def __init__(self, parts: Sequence[Part]):
        self._by_split = _parquet_by_split(parts)
        self._images, self._of_frames = _named(parts), _named([part for part in parts if part.has_frames])

    def find(self, name: str) -> FoundImage:
        """Return the key of the image with this name, else of the file of which it is a frame, or why there is none."""
        file, row, number = name.partition(" row ")
        found = self._images.find(f"{self._by_split.get(file, file)}{row}{number}")
        return self._of_frames.find(_FRAME.sub("", name)) if found.reason == NO_IMAGE else found


def _named(parts: Sequence[Part]) -> NamedImages:
    return NamedImages(Path("/"), sorted({Path(key) for part in parts for key in keys_of(part)}))


def keys_of(part: Part) -> list[str]:
    """Return the key of each image of a part: the path below / of its file, and its row in a parquet file."""
    file = Path(part.path).relative_to("/").as_posix()
    return [f"{file} row {part.first_row + row}" if part.row_group >= 0 else file for row in range(part.images)]


def _parquet_by_split(parts: Sequence[Part]) -> dict[str, str]:
    """Return the parquet file of each split that has one, because ``tune-audit`` names its rows ``train row 7``."""
    files = sorted({Path(part.path) for part in parts if part.row_group >= 0})
    splits = splits_of(files)
    return {split: file.name for split, file in zip(splits, files, strict=True) if splits.count(split) == 1}
