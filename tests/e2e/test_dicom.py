"""A whole search on DICOM files: from tags to a champion that predicts DICOM, without a trace of the patients."""

import csv

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.searches import SMALL, search

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

PLANTED = ("Doe-Planted", "19500817", "PATIENT-4711", "ACC-0815")


def write_patients(root, labels):
    """Write two images per patient, bright in the middle for the class ``ill``, and return the rows of a table."""
    rng = np.random.default_rng(0)
    for index, label in enumerate(labels):
        pixels = rng.integers(0, 1500, (32, 32), dtype=np.uint16)
        pixels[8:24, 8:24] += 2000 * (label == "ill")
        patient = {"PatientName": f"{PLANTED[0]}^{index // 2}", "PatientID": f"{PLANTED[2]}-{index // 2}"}
        person = {"PatientBirthDate": PLANTED[1], "AccessionNumber": PLANTED[3], "InstitutionName": PLANTED[0]}
        write_dicom(root / f"IM{index:04}", pixels, **patient, **person, WindowCenter="2048", WindowWidth="4096")
    return [f"IM{index:04},{label}" for index, label in enumerate(labels)]


def test_no_identifying_tag_leaves_the_files(tmp_path):
    """One search and one prediction as whole processes: about 40 s."""
    rows = write_patients(tmp_path / "dicom", ["ill" if index // 2 % 2 else "well" for index in range(64)])
    (tmp_path / "labels.csv").write_text("\n".join(["image,diagnosis", *rows]))
    folder = tmp_path / "work"
    folder.mkdir()
    data = ("--data", "../dicom", "--labels", "../labels.csv")
    output = search(folder, "demo_space", *data, *SMALL, "--report", "--num-samples", 2)
    assert "64 DICOM files (64 CR) with 64 images of 32 patients by PatientID" in output
    assert "audit: 32 subjects (as given), the largest with 2 images" in output
    output += search(folder, "models:/demo_space@champion", "../dicom", module="tuning.cli.predict")
    with (folder / "predictions.csv").open() as opened:
        predicted = list(csv.DictReader(opened))
    assert len(predicted) == 64 and not any(row["error"] for row in predicted)

    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"mlflow.db", "report.html", "predictions.csv"} <= {file.name for file in files}
    for planted in PLANTED:
        assert planted not in output
        assert not [file for file in files if planted.encode() in file.read_bytes()], planted
