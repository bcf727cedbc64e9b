"""Images to predict: files, folders and parquet in the hub's layout, read a few at a time. Labels are not needed."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.readers.dicom_tags import read_tags
from trainables.core.data.readers.image_entries import part_name, read_frame
from trainables.core.data.readers.image_files import find_images, find_parquet, is_dicom_file, is_nifti_file
from trainables.core.data.readers.parquet.image_column import check_image_column, encoded_bytes
from trainables.core.data.readers.volumes import find_slices
from trainables.core.errors import DataError, first_line

_PARQUET = ".parquet"
_ROWS = 64


@dataclass(frozen=True)
class Part:
    """A unit of reading: one image file with all its frames or slices, or one row group of a parquet file.

    Attributes:
        path: Absolute path, since other nodes do not know the folder in which the command was started.
        name: Path as the user gave it, or as found in a folder.
        images: Number of images.
        row_group: Index of the row group in a parquet file; -1 for an image file.
        first_row: First row of the row group within its file, or first slice of the volume.
        axis: Axis of a volume's slices, a key of ``AXES``; "" for all other files.
    """

    path: str
    name: str
    images: int = 1
    row_group: int = -1
    first_row: int = 0
    axis: str = ""

    @property
    def has_frames(self) -> bool:
        """True if the images are frames or slices of one file, whose names are the file's with their number."""
        return self.row_group < 0 and (self.images > 1 or self.axis != "")

    @property
    def image_names(self) -> list[str]:
        """Name of each image."""
        if self.row_group >= 0:
            return [f"{self.name} row {self.first_row + row}" for row in range(self.images)]
        if not self.has_frames:
            return [self.name]
        numbers = range(self.first_row + 1, self.first_row + self.images + 1)
        return [f"{self.name} {part_name(Path(self.path))} {number}" for number in numbers]


@dataclass(frozen=True)
class NamedImage:
    """One image: its name and its encoded bytes, or the reason why it could not be read."""

    name: str
    data: bytes = b""
    error: str = ""


def find_parts(places: Sequence[str], tables: Collection[Path] = ()) -> list[Part]:
    """Find the images in files and folders, in the given order. Files of a folder are sorted by path.

    A file given by name counts as an image whatever its suffix. In folders, at any depth, files with an image suffix
    and parquet files count, except hidden ones.

    Args:
        places: Files and folders.
        tables: Tables about the images. In folders, they are no parquet files of images.

    Raises:
        DataError: A place does not exist or has no images, or a parquet file cannot be read.
    """
    parts, apart = [], {table.resolve() for table in tables}
    for place in places:
        found = list(_parts_of(Path(place), apart))
        if not found:
            raise DataError(f"{place} has no images (JPEG, PNG, TIFF, ..., or parquet in the hub's layout)")
        parts += found
    return parts


def without_repeats(parts: Iterable[Part]) -> list[Part]:
    """Return the parts without those that were there before, as where a file and its folder are given."""
    first: dict[tuple[Path, str, int], Part] = {}
    for part in parts:
        file = Path(part.path)
        first.setdefault((file.parent.resolve(), file.name, part.row_group), part)
    return list(first.values())


def _parts_of(place: Path, tables: Collection[Path]) -> Iterator[Part]:
    if place.is_dir():
        parquet = [file for file in find_parquet(place) if file.resolve() not in tables]
        files = sorted(file for file in [*find_images(place), *parquet] if file.is_file())
    elif place.is_file():
        files = [place]
    else:
        raise DataError(f"images must be existing files or folders, but {place} does not exist")
    for file in files:
        if file.suffix.lower() == _PARQUET:
            yield from _row_groups(file)
        elif is_nifti_file(file):
            yield _volume(file.absolute(), str(file), Slicing())
        else:
            frames = read_tags(file).frames if is_dicom_file(file) else 1
            yield Part(str(file.absolute()), str(file), max(1, frames))


def _volume(file: Path, name: str, slicing: Slicing) -> Part:
    slices = find_slices(file, slicing)
    return Part(str(file), name, len(slices), first_row=slices.start, axis=slicing.axis)


def with_slicing(parts: Iterable[Part], slicing: Slicing | None) -> list[Part]:
    """Return the parts with the slices that a model takes from volumes; None stands for the default."""
    return [_volume(Path(part.path), part.name, slicing or Slicing()) if part.axis else part for part in parts]


def _row_groups(file: Path) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            image = opened.schema_arrow.field("image").type if "image" in opened.schema_arrow.names else None
            counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
    except (OSError, ValueError, pa.ArrowException, KeyError) as error:
        raise DataError(f"{file} is not a readable parquet file: {first_line(error)}") from error
    if image is None:
        raise DataError(f"{file} must have a column image, but has none: move it away if it has no images")
    check_image_column(image, str(file))
    first = 0
    for group, count in enumerate(counts):
        if count:
            yield Part(str(file.absolute()), str(file), count, group, first)
        first += count


def read_part(part: Part) -> Iterator[NamedImage]:
    """Yield a part's images in order. An image that cannot be read comes with the reason."""
    if part.row_group >= 0:
        yield from _read_rows(part)
        return
    slicing = Slicing(part.axis, part.images) if part.axis else None
    for number, name in enumerate(part.image_names, part.first_row):
        try:
            yield NamedImage(name, read_frame(Path(part.path), number if part.has_frames else None, slicing))
        except OSError as error:
            yield NamedImage(name, error=_reason(error))
        except DataError as error:
            yield NamedImage(name, error=str(error))


def _read_rows(part: Part) -> Iterator[NamedImage]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = iter(part.image_names)
    try:
        with pq.ParquetFile(part.path) as opened:
            for batch in opened.iter_batches(_ROWS, row_groups=[part.row_group], columns=["image"]):
                for cell in batch.column("image"):
                    yield _named(next(names), cell)
    except (OSError, ValueError, pa.ArrowException) as error:
        yield from (NamedImage(name, error=_reason(error)) for name in names)


def _named(name: str, cell: Any) -> NamedImage:
    try:
        return NamedImage(name, encoded_bytes(cell))
    except OSError as error:
        return NamedImage(name, error=first_line(error))


def _reason(error: Exception) -> str:
    named = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {named or first_line(error)}"


def batches(images: Iterable[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    """Yield lists of ``size`` images, the last one with the remainder. Only one list is in memory at a time."""
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
