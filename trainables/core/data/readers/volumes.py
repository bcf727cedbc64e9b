"""Slices of NIfTI files. A file is read and scaled once for all its slices."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from trainables.core.data.decode.nifti import PERCENTILES, Slicing, slice_numbers, volume_slices
from trainables.core.data.fact import Fact
from trainables.core.data.readers.untrusted_files import read_file
from trainables.core.errors import DataError, MissingPackageError
from trainables.core.plural import plural

_HEADER_BYTES = 4096
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+(?=[_.])")
_MOST_BYTES, _MOST_VOLUMES = 2**27, 64  # in memory; the last volume may be larger
_recent: OrderedDict[tuple[Path, int, int, Slicing], dict[int, bytes] | str] = OrderedDict()
_reading = Lock()  # threads ask for neighbouring slices of a volume at the same time


def find_slices(file: Path, slicing: Slicing) -> range:
    """Return the numbers of a volume's slices in use. Only the header is read.

    A damaged file counts as one slice; reading that gives the reason.
    """
    try:
        with file.open("rb") as opened:
            return slice_numbers(opened.read(_HEADER_BYTES), slicing)
    except (DataError, OSError):
        return range(1)


def read_slice(file: Path, number: int, slicing: Slicing) -> bytes:
    """Return a slice as an encoded 8-bit image.

    Args:
        file: Volume.
        number: Number of the slice, one of ``find_slices``.
        slicing: The slices to take.

    Raises:
        DataError: The volume cannot be decoded.
        OSError: The file cannot be read.
    """
    state = file.stat()
    with _reading:
        slices = _slices(file, state.st_mtime_ns, state.st_size, slicing)
    if isinstance(slices, str):
        raise DataError(slices)
    if number not in slices:
        raise DataError("it has changed since the search began")
    return slices[number]


def _slices(file: Path, changed: int, size: int, slicing: Slicing) -> dict[int, bytes] | str:
    """Return the slices, or the reason why there are none. A changed file is read again."""
    key = (file, changed, size, slicing)
    if key not in _recent:
        try:
            _recent[key] = volume_slices(read_file(file), slicing)
        except MissingPackageError:
            raise
        except DataError as error:
            _recent[key] = str(error)
        while len(_recent) > 1 and (len(_recent) > _MOST_VOLUMES or sum(map(_bytes, _recent.values())) > _MOST_BYTES):
            _recent.popitem(last=False)
    _recent.move_to_end(key)
    return _recent[key]


def _bytes(slices: dict[int, bytes] | str) -> int:
    return 0 if isinstance(slices, str) else sum(map(len, slices.values()))


def describe_volumes(volumes: int, slices: int, slicing: Slicing) -> str:
    """Return a note on the volumes of a data set."""
    low, high = PERCENTILES
    counted = f"{plural(volumes, 'NIfTI volume')} with {plural(slices, f'{slicing.axis} slice')}"
    return Fact(
        f"{counted}: at most {slicing.count} around the middle of "
        f"each volume, scaled from its {low:g}th to its {high:g}th percentile (--axis and --slices take others)"
    )


def find_subjects(volumes: Sequence[Path]) -> dict[Path, str]:
    """Return the subject of each volume, ``sub-01`` in names as BIDS prescribes; empty unless all names have one."""
    found = {file: match[0] for file in volumes if (match := _SUBJECT.match(file.name))}
    return found if len(found) == len(volumes) else {}


def describe_subjects(subjects: Mapping[Path, str]) -> list[str]:
    """Return a note on the subjects of volumes, if some have several."""
    count = len(set(subjects.values()))
    if count == len(subjects):
        return []
    of_subjects = plural(count, "subject")
    return [f"{len(subjects)} NIfTI volumes are of {of_subjects} by their names, such as {min(subjects.values())}"]
