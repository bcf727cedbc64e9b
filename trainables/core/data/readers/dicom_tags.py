"""The tags of DICOM files that are used: the patient, to group images, and how an image was acquired."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.core.data.decode.dicom import count_frames, has_window, is_incomplete, read_header, read_text
from trainables.core.data.fact import Fact
from trainables.core.data.readers.image_files import is_dicom_file
from trainables.core.data.readers.patient_names import alike_patients, names_patient
from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import DataError
from trainables.core.plural import plural

# How an image was acquired, and from whom: name in the metadata to DICOM tag. None of them identifies a person.
ACQUISITION = {
    "modality": "Modality",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "pixel spacing": "PixelSpacing",
    "sex": "PatientSex",
    "age": "PatientAge",
}


@dataclass(frozen=True)
class DicomTags:
    """Tags of a file. The defaults are those of a file that is not DICOM, or damaged.

    Attributes:
        frames: Number of frames; 0 for files that have none.
        patient: PatientID; "" if it names no patient. It only groups images and is never stored.
        windowed: True if the file has a window.
        acquisition: Values of ``ACQUISITION``, in its order.
    """

    frames: int = 0
    patient: str = ""
    windowed: bool = True
    acquisition: tuple[str, ...] = ("",) * len(ACQUISITION)


def read_tags(file: Path) -> DicomTags:
    """Return the tags of a DICOM file. A damaged file has none; decoding it gives the reason."""
    try:
        with file.open("rb") as opened:
            header = read_header(opened)
        frames, windowed = count_frames(header), has_window(header)
        if frames > 1 and is_incomplete(header, file.stat().st_size):
            frames = 1  # one bad image instead of thousands
    except (DataError, OSError):
        return DicomTags()
    patient = read_text(header, "PatientID")
    return DicomTags(
        frames=frames,
        patient=patient if names_patient(patient) else "",
        windowed=windowed,
        acquisition=tuple(printable(read_text(header, tag)) for tag in ACQUISITION.values()),
    )


@dataclass(frozen=True, eq=False)
class FolderTags:
    """Tags of the files of a folder.

    Attributes:
        frames: (N) number of frames of each file; 0 for files that are not DICOM, or damaged.
        patients: (N) PatientID of each file, "" if unknown or if fewer than two patients are named. It is never stored.
        metadata: Name in ``ACQUISITION`` to (N) values; empty if no file is DICOM.
        notes: Facts about the DICOM files.
    """

    frames: Sequence[int]
    patients: Sequence[str]
    metadata: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def read_folder_tags(files: Sequence[Path]) -> FolderTags:
    """Return the tags of the N files of a folder, DICOM or not."""
    tags = [read_tags(file) if is_dicom_file(file) else DicomTags() for file in files]
    is_dicom = any(of_file.frames for of_file in tags)
    patients = len({of_file.patient for of_file in tags} - {""})
    values = zip(*(of_file.acquisition for of_file in tags), strict=True)
    return FolderTags(
        frames=[of_file.frames for of_file in tags],
        patients=[of_file.patient if patients > 1 else "" for of_file in tags],  # anonymised files may all have one
        metadata=dict(zip(ACQUISITION, map(list, values), strict=True)) if is_dicom else {},
        notes=_describe_dicom(tags, patients) if is_dicom else [],
    )


def _describe_dicom(tags: Sequence[DicomTags], patients: int) -> list[str]:
    dicom = [of_file for of_file in tags if of_file.frames]
    images = sum(of_file.frames for of_file in dicom)
    modalities = Counter(of_file.acquisition[0] or "unknown" for of_file in dicom)
    counted = ", ".join(f"{count} {name}" for name, count in modalities.most_common())
    files, of_patients = plural(len(dicom), "DICOM file"), plural(patients, "patient")
    notes: list[str] = [Fact(f"{files} ({counted}) with {plural(images, 'image')} of {of_patients} by PatientID")]
    if patients < 2:
        notes.append("PatientID names fewer than two patients, so it is not used to group images")
    else:
        alike = alike_patients(of_file.patient for of_file in dicom)
        if alike:  # they stay unnamed
            notes.append(
                f"{plural(len(alike), 'patient')} may have several PatientIDs, which differ only in case, hyphens or "
                "zeros and count as different patients: --group-pattern or --groups can join them"
            )
    unwindowed = sum(not of_file.windowed for of_file in dicom)
    if unwindowed:
        files = plural(unwindowed, "DICOM file has", "DICOM files have")
        notes.append(Fact(f"{files} no window: each image is scaled from its darkest to brightest value"))
    return notes
