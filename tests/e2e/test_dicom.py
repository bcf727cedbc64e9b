"""A whole search on DICOM files: from tags to a champion that predicts DICOM, without a trace of the patients."""

import csv
import gzip
import hashlib
import hmac
import zipfile

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.searches import SMALL, search
from trainables.core.data.readers.pseudonyms import KEY_VARIABLE

pytestmark = [pytest.mark.e2e, pytest.mark.ray]

KEY = "PLANTED-KEY-" * 4
PATIENTS = [f"PATIENT-4711-{number}" for number in range(32)]
PLANTED = ("Doe-Planted", "19500817", "PATIENT-4711", "ACC-0815", KEY)
PSEUDONYMS = ["p" + hmac.new(KEY.encode(), one.encode(), hashlib.sha256).hexdigest()[:16] for one in PATIENTS]


def write_patients(root, seed):
    """Write two images per patient, bright in the middle for the class ``ill``, and return the rows of a table."""
    rng = np.random.default_rng(seed)
    labels = ["ill" if index // 2 % 2 else "well" for index in range(64)]
    for index, label in enumerate(labels):
        pixels = rng.integers(0, 1500, (32, 32), dtype=np.uint16)
        pixels[8:24, 8:24] += 2000 * (label == "ill")
        patient = {"PatientName": f"{PLANTED[0]}^{index // 2}", "PatientID": PATIENTS[index // 2]}
        person = {"PatientBirthDate": PLANTED[1], "AccessionNumber": PLANTED[3], "InstitutionName": PLANTED[0]}
        write_dicom(root / f"IM{index:04}", pixels, **patient, **person, WindowCenter="2048", WindowWidth="4096")
    return [f"IM{index:04},{label}" for index, label in enumerate(labels)]


def contents(folder):
    """Return the bytes of all files by name, also of those in compressed files."""
    found = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for name in list(found):
        if zipfile.is_zipfile(name):
            with zipfile.ZipFile(name) as archive:
                found |= {f"{name}/{member}": archive.read(member) for member in archive.namelist()}
        elif found[name].startswith(b"\x1f\x8b"):
            found[f"{name}/gz"] = gzip.decompress(found[name])
    return found


def hashes(patient):
    """Return hashes that lead back to a patient without a key: by trying all identifiers."""
    return [hashlib.new(kind, patient.encode()).hexdigest()[:16] for kind in ("md5", "sha1", "sha256")]


def rows_of(file):
    with file.open() as opened:
        return list(csv.DictReader(opened))


@pytest.mark.slow
def test_no_identifying_tag_and_no_key_leaves_the_files(tmp_path, monkeypatch):
    """One search, one audit, one evaluation and two predictions as whole processes: about 60 s."""
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key"))
    rows = write_patients(tmp_path / "dicom", 0)
    write_patients(tmp_path / "elsewhere", 1)
    (tmp_path / "labels.csv").write_text("\n".join(["image,diagnosis", *rows]))
    folder = tmp_path / "work"
    folder.mkdir()
    labels = ("--labels", "../labels.csv")
    output = search(folder, "demo_space", "--data", "../dicom", *labels, *SMALL, "--report", "--num-samples", 2)
    assert "64 DICOM files (64 CR) with 64 images of 32 patients by PatientID" in output
    assert "audit: 32 subjects (as given), the largest with 2 images" in output
    output += search(folder, "../dicom", *labels, "--write-groups", "groups.csv", module="tuning.cli.audit")
    model = "models:/demo_space@champion"
    output += search(folder, model, "../dicom", module="tuning.cli.predict")
    predicted = rows_of(folder / "predictions.csv")
    assert len(predicted) == 64 and not any(row["error"] for row in predicted)
    files = ("--json", "evaluation.json", "--report", "evaluation.html")
    output += search(folder, model, "../elsewhere", *labels, *files, module="tuning.cli.evaluate")
    output += search(
        folder, model, "../dicom", "--per", "patient", "--out", "patients.csv", module="tuning.cli.predict"
    )

    by_patient = rows_of(folder / "patients.csv")
    assert [row["patient"] for row in by_patient] == PSEUDONYMS
    group_of = {row["image"]: row["group"] for row in rows_of(folder / "groups.csv")}
    assert [group_of[row["first_image"].removeprefix("../dicom/")] for row in by_patient] == PSEUDONYMS

    files = contents(folder)
    names = {name.rpartition("/")[2] for name in files}
    assert {"mlflow.db", "report.html", "patients.csv", "evaluation.json", "evaluation.html"} <= names
    for planted in (*PLANTED, *(one for patient in PATIENTS for one in hashes(patient))):
        assert planted not in output
        assert not [name for name, content in files.items() if planted.encode() in content], planted
