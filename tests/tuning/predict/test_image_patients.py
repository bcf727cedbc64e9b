import hashlib
import hmac
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dicom import write_dicom
from tests.images import png, write_classes
from tests.nifti import noise, write_nifti
from trainables.core.data.readers.pseudonyms import KEY_VARIABLE
from trainables.core.data.readers.unlabelled import find_parts, read_part
from trainables.core.errors import UserError
from tuning.predict.image_patients import PatientSource, describe_patients, patients_of

KEY = "0123456789abcdef" * 4
PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files a/000.png, a/001.png, b/000.png and b/001.png."""
    monkeypatch.chdir(tmp_path)
    return write_classes(tmp_path / "images", {"a": 2, "b": 2}, size=8)


def of_images(parts, source):
    return patients_of(parts, source).of_images


def write_table(text):
    Path("table.csv").write_text(text)
    return PatientSource("table.csv")


def write_parquet(file, **columns):
    rows = len(next(iter(columns.values())))
    images = [{"bytes": png(PIXELS.astype(np.uint8)), "path": None}] * rows
    pq.write_table(pa.table({"image": images, **columns}), file, row_group_size=2)


def test_names_of_images_are_those_of_reading(folder, tmp_path):
    write_parquet(tmp_path / "images/train-0.parquet", patient=["p", "q", "p"])
    write_dicom(tmp_path / "images/film.dcm", np.stack([PIXELS] * 2))
    parts = find_parts([str(folder)])
    assert len(parts) == 7
    for part in parts:
        assert part.image_names == [image.name for image in read_part(part)]


@pytest.mark.parametrize(
    "table",
    [
        "image,group\na/000.png,1\na/001.png,2\nb/000.png,2\nb/001.png,1\nelsewhere.png,3\n",
        "path;subject\nimages/a/000;1\nimages/a/001;2\nimages/b/000;2\nimages/b/001;1\n",
    ],
)
def test_a_table_names_the_patients_of_files(folder, table):
    assert of_images(find_parts(["images"]), write_table(table)) == ["1", "2", "2", "1"]


def test_an_image_without_a_patient_is_one_of_its_own(folder):
    source = write_table("image,group\na/000.png,\na/001.png,7\nb/000.png,7\nb/001.png,\n")
    assert of_images(find_parts(["images"]), source) == ["images/a/000.png", "7", "7", "images/b/001.png"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,group\na/000.png,1\n", "table.csv lacks 3: images/a/001.png, images/b/000.png, images/b/001.png"),
        ("image,group\n000.png,1\n", "has '000.png': it could be .*: give the path below the folder"),
        (
            "image,group\na/000.png,1\nimages/a/000.png,2\n",
            "an image must have one group, but table.csv has 1 and 2 of",
        ),
        ("image,site\na/000.png,1\n", "--groups must have a column group, but its columns are image, site"),
        ("file,path,group\na,a,1\n", "--groups must have a column image, but its columns are file, path, group"),
    ],
)
def test_a_table_that_does_not_name_each_image_is_refused(folder, table, message):
    with pytest.raises(UserError, match=message):
        patients_of(find_parts(["images"]), write_table(table))


def test_rows_of_parquet_have_the_names_of_predictions_and_of_the_audit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet("train-0.parquet", label=[0, 1, 0])
    write_parquet("test-0.parquet", label=[0])
    parts = find_parts(["test-0.parquet", "train-0.parquet"])
    audited = "image,group\ntrain row 0,1\ntrain row 1,2\ntrain row 2,1\ntest row 0,2\n"
    assert of_images(parts, write_table(audited)) == ["2", "1", "2", "1"]
    assert of_images(parts, write_table(audited.replace(" row", "-0.parquet row"))) == ["2", "1", "2", "1"]


def test_a_pattern_captures_the_patient_in_a_files_name(folder):
    parts = find_parts(["images"])
    assert of_images(parts, PatientSource(pattern=r"(\d)\.png")) == ["0", "1", "0", "1"]
    assert of_images(parts, PatientSource(pattern=r"001")) == ["images/a/000.png", "001", "images/b/000.png", "001"]
    for pattern, message in (("x(", "must be a regular expression"), ("x", "matches none, as images/a/000.png")):
        with pytest.raises(UserError, match=message):
            patients_of(parts, PatientSource(pattern=pattern))


def test_a_column_of_parquet_is_recognised_or_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet("scans.parquet", patient_id=[7, None, 8], site=["x", "x", "y"])
    parts = find_parts(["scans.parquet"])
    assert of_images(parts, PatientSource()) == ["7", "scans.parquet row 1", "8"]
    assert of_images(parts, PatientSource(column="site")) == ["x", "x", "y"]
    with pytest.raises(
        UserError, match=r"must be a column of .*scans.parquet \(image, patient_id, site\), but got 'who'"
    ):
        patients_of(parts, PatientSource(column="who"))


@pytest.mark.parametrize("column", ["MRN", "patient_key", "case_id", "lesion_id"])
def test_patients_are_known_by_the_names_of_columns_that_training_knows(folder, tmp_path, column):
    write_parquet(tmp_path / "scans.parquet", **{column: ["a", "b", "a"]})
    assert of_images(find_parts(["scans.parquet"]), PatientSource()) == ["a", "b", "a"]
    source = write_table(f"image,{column}\na/000.png,1\na/001.png,2\nb/000.png,2\nb/001.png,1\n")
    assert of_images(find_parts(["images"]), source) == ["1", "2", "2", "1"]


@pytest.mark.parametrize(("patient", "expected"), [("ANON", ["s1", "s1", "s2"]), ("P1", ["P1"] * 3)])
def test_studies_stand_in_for_anonymised_patients_and_do_not_divide_one(folder, tmp_path, patient, expected):
    write_parquet(tmp_path / "scans.parquet", patient_id=[patient] * 3, study_id=["s1", "s1", "s2"])
    assert of_images(find_parts(["scans.parquet"]), PatientSource()) == expected


def test_a_number_of_a_patient_has_no_decimal_point(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet("a.parquet", patient_id=[7.0, None])
    write_parquet("b.parquet", patient_id=[7, 8])
    parts = find_parts(["a.parquet", "b.parquet"])
    assert of_images(parts, PatientSource()) == ["7", "a.parquet row 1", "7", "8"]


def test_volumes_of_one_subject_are_a_patient_if_all_names_say_so(tmp_path, monkeypatch):
    """As in training."""
    monkeypatch.chdir(tmp_path)
    names = ["sub-01_ses-1_T1w.nii", "sub-01_ses-2_T1w.nii", "sub-02_T1w.nii"]
    for name in (*names, "third.nii"):
        write_nifti(Path(name), noise(shape=(4, 4, 4)))
    subjects = of_images(find_parts(names), PatientSource())
    assert list(dict.fromkeys(subjects)) == ["sub-01", "sub-02"] and len(subjects) == 12
    mixed = of_images(find_parts([*names[:2], "third.nii"]), PatientSource())
    assert list(dict.fromkeys(mixed)) == [*names[:2], "third.nii"]


@pytest.fixture
def dicom(tmp_path, monkeypatch):
    """Files a.dcm and c.dcm of one patient, b.dcm of another, and film.dcm of nobody known."""
    monkeypatch.chdir(tmp_path)
    for name, tags in {"a": {"PatientID": "Doe^J"}, "b": {"PatientID": "Roe^R"}, "c": {"PatientID": "Doe^J"}}.items():
        write_dicom(Path(f"{name}.dcm"), PIXELS, **tags)
    write_dicom(Path("film.dcm"), np.stack([PIXELS] * 2))
    return find_parts(["a.dcm", "b.dcm", "c.dcm", "film.dcm"])


def test_patients_of_dicom_files_have_the_pseudonyms_of_the_users_key(dicom, tmp_path, monkeypatch):
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key"))
    doe, roe = ("p" + hmac.new(KEY.encode(), name, hashlib.sha256).hexdigest()[:16] for name in (b"Doe^J", b"Roe^R"))
    patients = patients_of(dicom, PatientSource())
    assert patients.of_images == [doe, roe, doe, "film.dcm", "film.dcm"]
    assert describe_patients(dicom, patients) == ["2 images have no known patient: each such file counts as one"]
    assert of_images(dicom[1:3], PatientSource()) == [roe, doe]


def test_without_a_key_patients_have_pseudonyms_of_this_run_and_a_note_says_so(dicom, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    patients = patients_of(dicom[:3], PatientSource())
    assert of_images(dicom[:3], PatientSource()) == patients.of_images
    first, second, third = patients.of_images
    assert first == third != second
    (note,) = describe_patients(dicom[:3], patients)
    assert note.startswith(f"patients are called by pseudonyms of this run only: with {KEY_VARIABLE}, a file with")


def test_one_identifier_for_all_dicom_files_is_noted_and_one_file_of_several_images_is_not(dicom, tmp_path):
    for name in "xyz":
        write_dicom(tmp_path / "one" / f"{name}.dcm", PIXELS, PatientID="0")
    write_dicom(tmp_path / "cine.dcm", np.stack([PIXELS] * 3), PatientID="P7")
    parts, film = find_parts(["one"]), find_parts(["cine.dcm"])
    (_, note) = describe_patients(parts, patients_of(parts, PatientSource()))
    assert note.startswith("all 3 images count as one patient: if anonymisation gave all of them the same identifier")
    assert not [note for note in describe_patients(film, patients_of(film, PatientSource())) if "count" in note]


def test_words_for_unknown_patients_are_no_patient(folder, tmp_path, monkeypatch):
    source = write_table("image,group\na/000.png,unknown\na/001.png,Anonymous\nb/000.png,NaN\nb/001.png,unknown\n")
    parts = find_parts(["images"])
    patients = patients_of(parts, source)
    assert patients.of_images == ["images/a/000.png", "images/a/001.png", "images/b/000.png", "images/b/001.png"]
    assert describe_patients(parts, patients) == ["4 images have no known patient: each such file counts as one"]
    write_parquet(tmp_path / "scans.parquet", patient_id=["unknown", "P1", "unknown", "P1", None])
    rows = [f"scans.parquet row {row}" for row in (0, 2, 4)]
    assert of_images(find_parts(["scans.parquet"]), PatientSource()) == [rows[0], "P1", rows[1], "P1", rows[2]]
    write_parquet(tmp_path / "floats.parquet", patient_id=[math.nan, 7.0, math.nan])
    names = ["floats.parquet row 0", "7", "floats.parquet row 2"]
    assert of_images(find_parts(["floats.parquet"]), PatientSource()) == names


def test_a_patient_of_many_images_among_many_is_noted(folder, tmp_path):
    write_parquet(tmp_path / "scans.parquet", patient_id=["0"] * 8 + [f"P{number}" for number in range(9)])
    parts = find_parts(["scans.parquet"])
    (note,) = describe_patients(parts, patients_of(parts, PatientSource()))
    assert note.startswith("one of 10 patients has 8 of 17 images: if its identifier stands for unknown patients")


def test_a_column_of_one_patient_is_used_and_noted(folder, tmp_path):
    write_parquet(tmp_path / "scans.parquet", patient_id=["P1"] * 3)
    parts = find_parts(["scans.parquet"])
    patients = patients_of(parts, PatientSource())
    assert patients.of_images == ["P1"] * 3
    assert describe_patients(parts, patients)[0].startswith("all 3 images count as one patient")


def test_unknown_patients_are_refused_with_the_options_that_name_them(folder, tmp_path):
    write_parquet(tmp_path / "images/none.parquet", label=[0])
    for places, source, message in (
        (["images/a"], PatientSource(), "images/a/000.png does not name one: give --groups FILE, --group-column"),
        (["images/none.parquet"], PatientSource(), "none.parquet has no column for them: give --groups FILE"),
        (
            ["images/none.parquet"],
            PatientSource(column="label"),
            "one meaning, but --group-column label names the labels",
        ),
        (["images"], PatientSource(), "the patients of parquet and of other files: give --groups FILE"),
        (
            ["images"],
            PatientSource(column="x"),
            "--group-column needs --groups FILE, or images that are all in parquet",
        ),
    ):
        with pytest.raises(UserError, match=message):
            patients_of(find_parts(places), source)
    with pytest.raises(UserError, match="give either --group-pattern, or --groups"):
        PatientSource("table.csv", pattern="x")


def test_a_table_names_files_whose_names_end_like_those_of_slices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("knee", "knee slice 1", "knee slice 2"):
        Path(f"{name}.png").write_bytes(png(PIXELS.astype(np.uint8)))
    source = write_table("image,group\nknee,P0\nknee slice 1,P1\nknee slice 2,P2\n")
    assert of_images(find_parts(["."]), source) == ["P1", "P2", "P0"]  # sorted by path
