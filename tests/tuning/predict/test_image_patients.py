from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dicom import write_dicom
from tests.images import png, write_classes
from trainables.core.data.readers.unlabelled import find_parts, read_part
from trainables.core.errors import UserError
from tuning.predict.image_patients import PatientSource, patients_of

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files a/000.png, a/001.png, b/000.png and b/001.png."""
    monkeypatch.chdir(tmp_path)
    return write_classes(tmp_path / "images", {"a": 2, "b": 2}, size=8)


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
    assert patients_of(find_parts(["images"]), write_table(table)) == ["1", "2", "2", "1"]


def test_an_image_without_a_patient_is_one_of_its_own(folder):
    source = write_table("image,group\na/000.png,\na/001.png,7\nb/000.png,7\nb/001.png,\n")
    assert patients_of(find_parts(["images"]), source) == ["images/a/000.png", "7", "7", "images/b/001.png"]


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
    assert patients_of(parts, write_table(audited)) == ["2", "1", "2", "1"]
    assert patients_of(parts, write_table(audited.replace(" row", "-0.parquet row"))) == ["2", "1", "2", "1"]


def test_a_pattern_captures_the_patient_in_a_files_name(folder):
    parts = find_parts(["images"])
    assert patients_of(parts, PatientSource(pattern=r"(\d)\.png")) == ["0", "1", "0", "1"]
    assert patients_of(parts, PatientSource(pattern=r"001")) == ["images/a/000.png", "001", "images/b/000.png", "001"]
    for pattern, message in (("x(", "must be a regular expression"), ("x", "matches none, as images/a/000.png")):
        with pytest.raises(UserError, match=message):
            patients_of(parts, PatientSource(pattern=pattern))


def test_a_column_of_parquet_is_recognised_or_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parquet("scans.parquet", patient_id=[7, None, 8], site=["x", "x", "y"])
    parts = find_parts(["scans.parquet"])
    assert patients_of(parts, PatientSource()) == ["7", "scans.parquet row 1", "8"]
    assert patients_of(parts, PatientSource(column="site")) == ["x", "x", "y"]
    with pytest.raises(
        UserError, match=r"must be a column of .*scans.parquet \(image, patient_id, site\), but got 'who'"
    ):
        patients_of(parts, PatientSource(column="who"))


def test_patients_of_dicom_files_are_called_after_their_first_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, tags in {"a": {"PatientID": "Doe^J"}, "b": {"PatientID": "Roe^R"}, "c": {"PatientID": "Doe^J"}}.items():
        write_dicom(Path(f"{name}.dcm"), PIXELS, **tags)
    write_dicom(Path("film.dcm"), np.stack([PIXELS] * 2))
    patients = patients_of(find_parts(["a.dcm", "b.dcm", "c.dcm", "film.dcm"]), PatientSource())
    assert patients == ["patient of a.dcm", "patient of b.dcm", "patient of a.dcm", "film.dcm", "film.dcm"]
    without_the_first = patients_of(find_parts(["b.dcm", "c.dcm"]), PatientSource())
    assert without_the_first == [
        "patient of b.dcm",
        "patient of c.dcm",
    ]  # no name stands for another person than before


def test_unknown_patients_are_refused_with_the_options_that_name_them(folder, tmp_path):
    write_parquet(tmp_path / "images/none.parquet", label=[0])
    for places, source, message in (
        (["images/a"], PatientSource(), "images/a/000.png does not name one: give --groups FILE, --group-column"),
        (["images/none.parquet"], PatientSource(), "none.parquet has no column for them: give --groups FILE"),
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
