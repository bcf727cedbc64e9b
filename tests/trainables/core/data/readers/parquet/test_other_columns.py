"""Text labels, patients and metadata in parquet files of images."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.images import png
from trainables.core.data.audited_dataset import inspect, reading_notes
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.splits.group_file import group_table, grouped_by_file
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import DataError


def write(root, name, labels, **columns):
    images = pa.array([png(np.full((8, 8), index, np.uint8)) for index in range(len(labels))], pa.binary())
    pq.write_table(pa.table({"image": images, "label": labels, **columns}), root / name)


def test_text_labels_patients_and_metadata(tmp_path):
    write(tmp_path, "train.parquet", ["well", "ill", None], patient_id=[7, 7, None], age=[40.5, None, 3])
    write(tmp_path, "test.parquet", pa.array(["unclear"]).dictionary_encode(), patient_id=[8], age=[1.0])
    source = open_source(str(tmp_path))
    assert source.class_names == ("ill", "unclear", "well")
    assert dict(zip(source.published.tolist(), source.labels.tolist(), strict=True))["test"] == 1
    assert sorted(source.labels.tolist()) == [-1, 0, 1, 2]
    assert len(set(source.groups.tolist())) == 3 and source.groups_given
    assert sorted(source.metadata["age"]) == ["", "1", "3", "40.5"] and list(source.metadata) == ["age"]
    assert reading_notes(source) == [
        "column of the parquet files: group = patient_id",
        "1 image has no known patient: similar images without one are grouped",
    ]


def test_unknown_patients_are_no_group(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"] * 4, MRN=["1", "unknown", "1", "unknown", "", "nan", "2", None])
    assert open_source(str(tmp_path)).groups.tolist() == [0, 1, 0, 2, 3, 4, 5, 6]


def test_a_patient_is_one_group_whatever_the_type_of_its_number_in_each_file(tmp_path):
    """pandas writes integers as doubles if one of them is missing."""
    write(tmp_path, "train-00000-of-00003.parquet", ["a", "b"], patient_id=[7, 8])
    write(tmp_path, "train-00001-of-00003.parquet", ["a", "b"], patient_id=[7.0, None])
    write(tmp_path, "train-00002-of-00003.parquet", ["a", "b"], patient_id=[" 7", "P 8 "])
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 1, 0, 2, 0, 3]
    assert open_source(str(tmp_path), group_column="patient_id").groups.tolist() == source.groups.tolist()


def test_spellings_of_a_patient_are_named(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"] * 2, patient_id=["P-007", "p7", "P8", "P8"])
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 1, 2, 2]
    assert "1 group in patient_id has several spellings (P-007 and p7), which count as different" in source.notes[1]


def test_files_of_different_kinds_of_labels_are_refused(tmp_path):
    write(tmp_path, "train.parquet", ["well", "ill"])
    write(tmp_path, "test.parquet", [0, 1])
    with pytest.raises(DataError, match="labels of all files must be text, or all integers, but they differ"):
        open_source(str(tmp_path))


def test_a_constant_patient_is_no_group_and_missing_labels_have_any_type(tmp_path):
    write(tmp_path, "train.parquet", ["well", "ill"], patient_id=["x", "x"])
    write(tmp_path, "test.parquet", pa.array([None], pa.null()), patient_id=["x"])
    source = open_source(str(tmp_path))
    assert source.class_names == ("ill", "well") and sorted(source.labels.tolist()) == [-1, 0, 1]
    assert not source.groups_given
    assert source.notes == ("column patient_id names 1 patient, so it is not used to group images",)


@pytest.mark.parametrize(("values", "count"), [(["x"] * 4, 1), (["unknown", "NaN", None, ""], 0)])
def test_a_column_that_names_fewer_than_two_patients_groups_nothing(tmp_path, values, count):
    """Otherwise each image were a group of its own, as if the data set said so, and none would be looked for."""
    write(tmp_path, "train.parquet", ["well", "ill"] * 2, patient_id=values)
    source = open_source(str(tmp_path))
    assert not source.groups_given and source.notes[0].startswith(f"column patient_id names {count} patient")
    with pytest.raises(DataError, match=f"must name at least two patients, but patient_id names {count}: name another"):
        open_source(str(tmp_path), group_column="patient_id")


def test_an_anonymised_patient_does_not_hide_a_study(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"] * 2, patient_id=["ANON"] * 4, study_id=[1, 1, 2, 2])
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 0, 1, 1] and source.groups_given
    assert source.notes[0] == "column patient_id names 0 patients, so it is not used to group images"


def test_a_column_of_splits_replaces_that_of_a_single_file(tmp_path):
    """The hub names the only file of a data set train."""
    write(tmp_path, "train.parquet", [0, 1, 0, 1], split=["train", "Validation", "test", None], age=[1, 2, 3, 4])
    source = open_source(str(tmp_path))
    assert source.published.tolist() == ["train", "val", "test", ""]
    assert list(source.metadata) == ["age"]
    assert source.notes == ("column of the parquet files: split = split",)


@pytest.mark.parametrize("values", [["train", "train", "test"], ["train", "test", "test"]])
def test_a_column_of_splits_must_agree_with_the_names_of_files_of_several_splits(tmp_path, values):
    write(tmp_path, "train.parquet", [0, 1], set=values[:2])
    write(tmp_path, "test.parquet", [1], set=values[2:])
    if values == ["train", "train", "test"]:
        assert sorted(open_source(str(tmp_path)).published.tolist()) == ["test", "train", "train"]
    else:
        with pytest.raises(DataError, match="splits in column set of .* differ from those in the names of its files"):
            open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"is_test": [0, 1]}, "column is_test of .* looks like a published split: write train or test"),
        ({"split": ["internal", "external"]}, "column split of .* must hold one of train, .* but has external"),
        ({"a": ["train", "test"], "b": ["test", "val"]}, r"several columns that could be the split \(a, b\)"),
    ],
)
def test_a_split_in_another_form_is_refused(tmp_path, columns, reason):
    write(tmp_path, "train.parquet", [0, 1], **columns)
    with pytest.raises(DataError, match=reason):
        open_source(str(tmp_path))


def test_fold_numbers_are_no_split(tmp_path):
    write(tmp_path, "train.parquet", [0, 1], fold=[1, 2])
    source = open_source(str(tmp_path))
    assert (source.published.tolist(), source.metadata) == (["train"] * 2, {"fold": ["1", "2"]})


def test_rows_of_several_files_have_different_names(tmp_path):
    for number in range(2):
        write(tmp_path, f"train-0000{number}-of-00002.parquet", [0, 1], patient_id=[number, number])
    write(tmp_path, "test-00000-of-00001.parquet", [0], patient_id=[5])
    names = ["test row 0", "train row 0", "train row 1", "train row 2", "train row 3"]
    source = open_source(str(tmp_path))
    assert list(source.names) == names
    (tmp_path / "groups.csv").write_text(group_table(names, source.groups))
    assert grouped_by_file(source, tmp_path / "groups.csv").groups.tolist() == source.groups.tolist()


def test_gaps_in_the_numbers_of_classes_are_refused(tmp_path):
    write(tmp_path, "train.parquet", [0, 1, 3])
    with pytest.raises(DataError, match="without gaps, but no image has 2, and the largest is 3: close"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["a", "a|b", "b"], "each image in Parquet must have one label, but there is 'a|b': write the images into"),
        (["a", "a, b", "b"], "several labels of an image must be separated by '|', but column label of .* has a, b"),
    ],
)
def test_several_labels_of_an_image_are_refused(tmp_path, labels, reason):
    write(tmp_path, "train.parquet", labels)
    with pytest.raises(DataError, match=reason.replace("|", r"\|")):
        open_source(str(tmp_path))


def test_columns_that_group_alike_are_one_patient(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"] * 3, mrn=[9, 9, 8, 8, 7, 7], PatientID=list("xxyyzz"))
    assert open_source(str(tmp_path)).groups.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("spelling", ["in one file", "in two files"])
def test_several_columns_that_could_be_the_patient_need_a_choice(tmp_path, spelling):
    patients, store = [index // 4 for index in range(24)], tmp_path / "store"
    root = tmp_path / "data"
    root.mkdir()
    if spelling == "in one file":
        write(root, "train.parquet", ["a", "b"] * 12, patient_id=patients, subject=[index // 2 for index in range(24)])
    else:
        write(root, "train-0.parquet", ["a", "b"] * 6, patient_id=patients[:12])
        write(root, "train-1.parquet", ["a", "b"] * 6, subject=patients[12:])
    with pytest.raises(DataError, match=r"could be the group \(patient_id, subject\): pass --group-column, or give"):
        inspect(str(root), store=store)
    assert inspect(str(root), grouping=Grouping(threshold=0.9), store=store).audit.named == "groups"
    if spelling == "in one file":
        data = inspect(str(root), grouping=Grouping(column="patient_id"), store=store)
        assert len(np.unique(data.groups)) == 6
        assert len(data.open_source()) == 24  # as on another node


@pytest.mark.parametrize("column", ["image", "label"])
def test_images_and_labels_are_no_group(tmp_path, column):
    write(tmp_path, "train.parquet", ["a", "b"])
    with pytest.raises(DataError, match=f"one meaning, but --group-column {column} names the {column}s of .*: name an"):
        open_source(str(tmp_path), group_column=column)


def test_a_column_that_some_files_lack_is_unknown_there(tmp_path):
    write(tmp_path, "train-0.parquet", ["a", "b"] * 2, patient_id=[1, 1, 2, 2], age=[1, 2, 3, 4])
    write(tmp_path, "train-1.parquet", ["a", "b"], split=["train", "test"])
    source = open_source(str(tmp_path))
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 3]
    assert "2 images have no known patient: similar images without one are grouped" in reading_notes(source)
    assert source.metadata["age"] == ["1", "2", "3", "4", "", ""]
    assert source.published.tolist() == [""] * 4 + ["train", "test"]


def test_dates_that_python_lacks_become_text(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"], born=pa.array([5_000_000] * 2, pa.date32()))
    assert open_source(str(tmp_path)).metadata == {"born": ["15659-07-15"] * 2}


def test_unreadable_and_doubled_columns_are_named(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"], taken=pa.array([0, 1], pa.timestamp("ms", "Foo/Bar")))
    with pytest.raises(DataError, match=r"column taken of .* cannot be read .*: store it as text, or remove it"):
        open_source(str(tmp_path))
    table = pq.read_table(tmp_path / "train.parquet").drop_columns(["taken"])
    table = table.append_column("age", pa.array([1, 2])).append_column("age", pa.array([1, 2]))
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="columns must have different names, but .* has several 'age'"):
        open_source(str(tmp_path))


def test_views_are_text_and_bytes(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"])
    table = pq.read_table(tmp_path / "train.parquet")
    views = {"image": table["image"].cast(pa.binary_view()), "label": table["label"].cast(pa.string_view())}
    pq.write_table(pa.table(views), tmp_path / "train.parquet")
    source = open_source(str(tmp_path))
    assert source.class_names == ("a", "b") and source.read(1) == table["image"][1].as_py()
