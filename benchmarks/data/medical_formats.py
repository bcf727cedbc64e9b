r"""Convert image data sets into DICOM files and NIfTI volumes, to compare searches on both forms of the same images.

    python -m benchmarks.data.medical_formats dicom chest_xray OUT '^(.*?)[-_]\d+\.jpe?g$'
    python -m benchmarks.data.medical_formats nifti alzheimer_mri OUT

``dicom`` writes every image of class folders as a 12-bit DICOM file whose PatientID is the pattern's match in its name;
every second one is MONOCHROME1. ``nifti`` writes every group that the audit finds as a volume in the folder of its most
frequent class, one slice per image.
"""

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.core.data.audited_dataset import inspect

_WHITE = 2**12 - 1
_MONOCHROME1_EVERY = 2
_SIDE = 128


def to_dicom(source: Path, out: Path, pattern: str) -> None:
    """Convert class folders, keeping the names of folders and files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    for number, file in enumerate(sorted(file for file in source.rglob("*") if file.is_file())):
        grey = np.asarray(Image.open(file).convert("L"), dtype=np.float64)
        samples = (grey * _WHITE / 255).round().astype("<u2")
        inverted = number % _MONOCHROME1_EVERY == 0
        name = re.search(pattern, file.name)
        assert name, file
        dataset, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = f"2.25.{int(hashlib.sha256(str(file).encode()).hexdigest()[:30], 16)}"
        dataset.file_meta, dataset.SOPClassUID = meta, SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.PatientID, dataset.Modality, dataset.SamplesPerPixel = name[1], "DX", 1
        dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
        dataset.Rows, dataset.Columns = samples.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.WindowCenter, dataset.WindowWidth = (_WHITE + 1) / 2, _WHITE + 1
        dataset.PixelData = (_WHITE - samples if inverted else samples).tobytes()
        target = (out / file.relative_to(source)).with_suffix(".dcm")
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target, enforce_file_format=True)


def to_nifti(source: Path, out: Path) -> None:
    """Stack the images of each group, so that axial slices show them upright."""
    import nibabel

    data = inspect(str(source))
    images = data.images(_SIDE)[..., 0]
    for group in np.unique(data.groups):
        members = np.flatnonzero(data.groups == group)
        label = Counter(data.labels[members].tolist()).most_common(1)[0][0]
        # Axes to the right, to the front and up; rows of an image begin at the front, columns on the patient's right.
        volume = images[members, ::-1, ::-1].transpose(2, 1, 0)
        target = out / data.class_names[label] / f"volume_{group:04}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(volume), np.diag([1.0, 1.0, 5.0, 1.0])), target)


if __name__ == "__main__":
    kind, *places = sys.argv[1:]
    {"dicom": to_dicom, "nifti": to_nifti}[kind](*map(Path, places[:2]), *places[2:])
