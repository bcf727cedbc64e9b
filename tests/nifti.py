"""NIfTI volumes for tests."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

RAS = np.diag([1.0, 1.0, 1.0, 1.0])
SECRETS = {"descrip": b"JOHN^DOE", "db_name": b"19700101", "aux_file": b"MRN-4711"}


def write_nifti(file: Path, voxels: NDArray[Any], affine: NDArray[np.float64] = RAS) -> Path:
    """Write a volume whose header texts name a patient."""
    image = nibabel.Nifti1Image(voxels, affine)
    for field, value in SECRETS.items():
        image.header[field] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, file)
    return file


def noise(seed: int = 0, shape: tuple[int, ...] = (12, 14, 16)) -> NDArray[np.int16]:
    """Return a volume of noise."""
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
