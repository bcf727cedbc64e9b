"""Images in a folder: one per file, per frame of a DICOM file, or per slice of a NIfTI volume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.dicom import frame_extractor
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.readers.dicom_tags import read_folder_tags
from trainables.core.data.readers.image_files import find_images, is_nifti_file
from trainables.core.data.readers.untrusted_files import check_within, printable, read_file
from trainables.core.data.readers.volumes import (
    describe_subjects,
    describe_volumes,
    find_slices,
    find_subjects,
    read_slice,
)
from trainables.core.data.source import numbered

_FILES = 2  # DICOM files in memory: threads may still read the frames of one while others begin the next
_parsing = Lock()


@dataclass(frozen=True, eq=False)
class ImageEntries:
    """Images below a folder.

    Attributes:
        root: Folder.
        files: (N) path of each image's file below the folder. Images of one file are next to each other.
        frames: (N) number of the frame in a file of several, or of the slice, counted from 0, else None.
        slicing: Slices that are taken from volumes; None if there are no volumes.
        groups: (N,) int64, equal for images of one patient or file.
        has_patient: (N) True if the file names the patient.
        patients: (N) PatientID of DICOM images, "" if unknown or if it gives no groups. It is never stored.
        metadata: Acquisition of DICOM images: name to (N) values; empty if there are none.
        notes: Facts about the DICOM files and volumes.
    """

    root: Path
    files: Sequence[Path]
    frames: Sequence[int | None]
    slicing: Slicing | None
    groups: NDArray[np.int64]
    has_patient: Sequence[bool]
    patients: Sequence[str]
    metadata: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Name of each image for messages."""
        return [
            printable(file.as_posix()) + ("" if frame is None else f" {part_name(file)} {frame + 1}")
            for file, frame in zip(self.files, self.frames, strict=True)
        ]

    def read(self, index: int) -> bytes:
        """Return the encoded image: the bytes of its file or of its frame."""
        file, frame = self.root / self.files[index], self.frames[index]
        check_within(self.root, file)
        return read_frame(file, frame, self.slicing)


def list_images(root: Path, slicing: Slicing | None = None) -> ImageEntries:
    """List the images below a folder, sorted by path. A damaged DICOM or NIfTI file counts as one image."""
    slicing = slicing or Slicing()
    files = [file.relative_to(root) for file in find_images(root)]
    tags = read_folder_tags([root / file for file in files])
    entries = [
        (place, number)
        for place, (file, frames) in enumerate(zip(files, tags.frames, strict=True))
        for number in _numbers(root / file, frames, slicing)
    ]
    places = [place for place, _ in entries]
    volumes = [file for file in files if is_nifti_file(file)]
    subjects = find_subjects(volumes)
    keys = [patient or subjects.get(file, file) for patient, file in zip(tags.patients, files, strict=True)]
    slices = sum(is_nifti_file(files[place]) for place in places)
    return ImageEntries(
        root=root,
        files=[files[place] for place in places],
        frames=[number for _, number in entries],
        slicing=slicing if volumes else None,
        groups=numbered([keys[place] for place in places]),
        has_patient=[isinstance(keys[place], str) for place in places],
        patients=[tags.patients[place] for place in places],
        metadata={name: [values[place] for place in places] for name, values in tags.metadata.items()},
        notes=(
            *tags.notes,
            *([describe_volumes(len(volumes), slices, slicing)] if volumes else ()),
            *describe_subjects(subjects),
        ),
    )


def files_or_patients(has_patient: Sequence[bool], frames: Sequence[int | None]) -> list[bool]:
    """Return which images are of a known patient. If none is, but all are of files of several, these are patients.

    Args:
        has_patient: N values, True for an image of a named patient.
        frames: As in ``ImageEntries``.
    """
    several = [frame is not None for frame in frames]
    return several if all(several) and not any(has_patient) else list(has_patient)


def _numbers(file: Path, frames: int, slicing: Slicing) -> Sequence[int | None]:
    if is_nifti_file(file):
        return find_slices(file, slicing)
    return range(frames) if frames > 1 else [None]


def part_name(file: Path) -> str:
    """Return the name of an image within a file of several."""
    return "slice" if is_nifti_file(file) else "frame"


def read_frame(file: Path, frame: int | None, slicing: Slicing | None = None) -> bytes:
    """Return the bytes of an image file, or of one frame of a DICOM file or slice of a NIfTI file.

    Raises:
        DataError: It cannot be decoded.
        OSError: The file cannot be read.
    """
    if is_nifti_file(file):
        return read_slice(file, frame or 0, slicing or Slicing())
    if frame is None:
        return read_file(file)
    state = file.stat()
    with _parsing:
        extract = _parsed(file, state.st_mtime_ns, state.st_size)
    return extract(frame)


@lru_cache(_FILES)
def _parsed(file: Path, changed: int, size: int) -> Callable[[int], bytes]:  # noqa: ARG001
    """Parse a DICOM file for all its frames. A changed file is parsed again."""
    return frame_extractor(read_file(file))
