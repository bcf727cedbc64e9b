import dataclasses
import re

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.trainables.core.data.readers.tables.label_rows import LABELS, rows, write
from trainables.core.data.audited_dataset import inspect, reading_notes
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.readers.tables.label_table import open_table
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import DataError


def test_labels_groups_and_metadata_come_from_the_table(folder):
    lines = rows()
    table = [f"{line},{'AB'[index % 2]},x" for index, line in enumerate(lines[1:])]
    write(folder, [lines[0] + ",site,country", *table])
    source = open_table(folder, LABELS)
    assert source.class_names == ("ill", "well")
    assert source.labels.tolist() == [0, 0, 1, 1] * 3
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5] and source.groups_given
    assert list(source.names) == [f"{index:03}.png" for index in range(12)]
    assert source.read(3) == (folder / "003.png").read_bytes()
    assert source.metadata == {"site": ["A", "B"] * 6, "country": ["x"] * 12}
    assert source.notes == (
        "columns of the table: image = image_id, label = diagnosis, group = PatientID; others, which no model sees: "
        "site (2 values), country (1 value)",
    )
    assert not source.unread  # the table has been read


@pytest.mark.parametrize(("patient", "count"), [("0", 1), ("anonymous", 0)])
def test_a_column_that_names_fewer_than_two_patients_groups_nothing(folder, patient, count):
    write(folder, [re.sub(r"p\d+$", patient, line) for line in rows()])
    source = open_table(folder, LABELS)
    assert not source.groups_given and len(set(source.groups.tolist())) == 12
    assert (
        source.notes[1]
        == f"column PatientID names {count} patient{'s' * (1 - count)}, so it is not used to group images"
    )
    with pytest.raises(DataError, match=f"must name at least two patients, but PatientID names {count}: name another"):
        open_table(folder, dataclasses.replace(LABELS, group="PatientID"))


def test_one_of_many_patients_with_many_images_is_noted(folder):
    write(
        folder, [re.sub(r"p[0-1]$", "0", line) if index < 5 else f"{line}x{index}" for index, line in enumerate(rows())]
    )
    notes = reading_notes(open_table(folder, LABELS))
    assert notes[-1].startswith("one of 9 patients has 4 of 12 images: if its identifier stands for unknown patients")


def test_the_order_of_rows_does_not_matter(folder):
    write(folder, rows())
    ordered = open_table(folder, LABELS)
    write(folder, [rows()[0], *reversed(rows()[1:])])
    assert open_table(folder, LABELS).labels.tolist() == ordered.labels.tolist()


def test_columns_can_be_named_and_a_wrong_name_suggests_the_nearest(folder):
    write(folder, ["scan,grade,person", *(f"{index:03},{index % 2},{index // 3}" for index in range(12))])
    with pytest.raises(
        DataError, match="no column of labels.csv is known as the image: pass --image-column, one of scan"
    ):
        open_table(folder, LABELS)
    named = dataclasses.replace(LABELS, image="scan", label="grade")
    assert open_table(folder, named).class_names == ("0", "1")
    with pytest.raises(
        DataError, match=r"--label-column must be one of .*, but got 'grades' \(did you mean 'grade'\?\)"
    ):
        open_table(folder, dataclasses.replace(named, label="grades"))
    with pytest.raises(DataError, match="each column must have one meaning, but grade is named twice"):
        open_table(folder, dataclasses.replace(named, group="grade"))


def test_several_possible_columns_are_refused_except_for_images(folder):
    lines = [f"{index:03},{index},{'ab'[index % 2]},{'ab'[index // 6]}" for index in range(12)]
    write(folder, ["file,image_id,label,finding", *lines])
    with pytest.raises(
        DataError, match=r"several columns that could be the label \(label, finding\): pass --label-column"
    ):
        open_table(folder, LABELS)
    source = open_table(folder, dataclasses.replace(LABELS, label="finding"))
    assert source.notes[0].startswith("columns of the table: image = file, label = finding")


def test_an_identifier_or_measurement_is_not_taken_for_a_label(folder):
    write(folder, ["image,label", *(f"{index:03},{index * 1.5}" for index in range(12))])
    with pytest.raises(DataError, match="column label of labels.csv has 12 values for 12 images"):
        open_table(folder, LABELS)
    write(folder, ["image,label", "000,a", *(f"missing{index},{index % 5000}" for index in range(20_000))])
    with pytest.raises(
        DataError, match="at most 1000 classes, .* but column label of labels.csv has 5001 values for 20001"
    ):
        open_table(folder, LABELS)


def test_numeric_classes_are_in_numeric_order(folder):
    write(folder, ["image,label", *(f"{index:03},{10 if index % 2 else 9}" for index in range(12))])
    assert open_table(folder, LABELS).class_names == ("9", "10")


def test_a_column_of_splits(folder):
    lines = [f"{line},{'Training' if index < 8 else 'test'}" for index, line in enumerate(rows()[1:])]
    write(folder, [f"{rows()[0]},split", *lines])
    assert open_table(folder, LABELS).published.tolist() == ["train"] * 8 + ["test"] * 4


def test_folders_of_splits_give_the_published_splits_if_no_column_does(folder):
    for index, file in enumerate(sorted(folder.iterdir())):
        place = folder / ("Train", "test")[index >= 8]
        place.mkdir(exist_ok=True)
        file.rename(place / file.name)
    write(folder, rows())
    source = open_table(folder, LABELS)
    published = [("train", "test")[name.startswith("test")] for name in source.names]
    assert source.published.tolist() == published and published.count("test") == 4
    assert "the folders of the images give the published splits" in source.notes
    write(
        folder,
        [f"{rows()[0]},split", *(f"{line},{('val', 'train')[index < 6]}" for index, line in enumerate(rows()[1:]))],
    )
    assert sorted(set(open_table(folder, LABELS).published)) == ["train", "val"]
    (folder / "Train" / "000.png").rename(folder / "000.png")
    write(folder, rows((11, "no such,ill,p5")))
    with pytest.raises(DataError, match=r"folder of each image .* must give a split .*, but that of 000.png does not"):
        open_table(folder, LABELS)
    (folder / "000.png").rename(folder / "Train" / "000.png")
    assert list(open_table(folder, LABELS).published).count("test") == 3
    (folder / "test").rename(folder / "training")
    write(folder, rows())
    assert set(open_table(folder, LABELS).published) == {""}  # the folders are of one split


def test_numbered_folds_are_no_published_split(folder):
    write(folder, [f"{rows()[0]},fold", *(f"{line},{index % 5}" for index, line in enumerate(rows()[1:]))])
    assert set(open_table(folder, LABELS).published) == {""}
    with pytest.raises(DataError, match="--split-column must hold one of train, .*, but fold has 0, 1, 2, ..."):
        open_table(folder, dataclasses.replace(LABELS, split="fold"))


def test_several_tables_are_named_after_their_splits(folder):
    head, *lines = rows()
    write(folder, [head, *lines[:8]], "train.csv")
    write(folder, [head, *lines[8:]], "test.csv")
    source = open_table(folder, LabelTable(("train.csv", "test.csv")))
    assert source.published.tolist() == ["train"] * 8 + ["test"] * 4
    write(folder, [head, *lines[7:]], "test.csv")
    overlapping = open_table(folder, LabelTable(("train.csv", "test.csv")))
    assert overlapping.unreadable == {7: "has 2 rows with different splits: test, train"}
    write(folder, [head, *lines[8:]], "second.csv")
    with pytest.raises(DataError, match="must be named after its split .*, but got second.csv"):
        open_table(folder, LabelTable(("train.csv", "second.csv")))


def test_several_tables_with_a_column_of_splits_need_a_decision(folder):
    head, *lines = rows()
    write(folder, [f"{head},split", *(f"{line},train" for line in lines[:8])], "train.csv")
    write(folder, [f"{head},split", *(f"{line},val" for line in lines[8:])], "test.csv")
    tables = LabelTable(("train.csv", "test.csv"))
    with pytest.raises(DataError, match="train.csv also has a column split: pass --split-column split"):
        open_table(folder, tables)
    source = open_table(folder, dataclasses.replace(tables, split="split"))
    assert source.published.tolist() == ["train"] * 8 + ["val"] * 4


def test_a_table_of_other_images_or_a_missing_table_is_refused(folder):
    write(folder, ["image,label", "a,ill", "b,well"])
    with pytest.raises(DataError, match=r"none of 2 in labels.csv does \(image: a, b; its images are 000.png, "):
        open_table(folder, LABELS)
    with pytest.raises(DataError, match=r"--labels must be a file, but truth.csv neither .*, which has labels.csv"):
        open_table(folder, LabelTable(("truth.csv",)))
    with pytest.raises(DataError, match="--labels needs a folder of images as the data set, but got phantoms"):
        open_source("phantoms", table=LABELS)


def test_a_similarity_threshold_replaces_the_groups_of_the_table(folder, tmp_path):
    write(folder, rows())
    grouping = Grouping(threshold=0.999)
    data = prepare(str(folder), table=LABELS, sizes=[16], seed=0, grouping=grouping, store=tmp_path / "store")
    assert len(np.unique(data.groups)) == 12


def test_a_worker_decodes_the_images_of_the_table_again(folder, tmp_path):
    write(folder, rows())
    grouping = Grouping(column="PatientID")
    data = inspect(str(folder), table=LABELS, grouping=grouping, store=tmp_path / "driver")
    assert len(np.unique(data.groups)) == 6
    elsewhere = dataclasses.replace(data, store=tmp_path / "worker")
    np.testing.assert_array_equal(elsewhere.images(16), data.images(16))
    write(folder, rows((0, "000,well,p0")))
    changed = dataclasses.replace(data, store=tmp_path / "third")
    with pytest.raises(DataError, match="differs from the data that the search began with"):
        changed.images(16)


def test_a_label_column_without_values_is_refused(folder):
    write(folder, ["image,label", *(f"{index:03}," for index in range(12))])
    with pytest.raises(DataError, match="column label of labels.csv must have the labels, but it is empty"):
        open_table(folder, LABELS)


def test_a_table_in_a_relative_folder_counts_as_read(folder, monkeypatch):
    write(folder, rows())
    monkeypatch.chdir(folder.parent)
    for table in ("labels.csv", "images/labels.csv"):
        assert not open_source("images", table=LabelTable((table,))).unread


def test_a_misspelt_split_is_refused_and_an_empty_column_is_none(folder):
    lines = [f"{index:03},{'ab'[index % 2]},{('train', 'tst')[index // 6]}" for index in range(12)]
    write(folder, ["image,label,split", *lines])
    with pytest.raises(DataError, match=r"column split of labels.csv must hold .*, but has tst: correct"):
        open_table(folder, LABELS)
    write(folder, ["image,label,split", *(line[: line.rindex(",") + 1] for line in lines)])
    assert "split =" not in open_table(folder, LABELS).notes[0]


def test_groups_that_differ_only_in_case_or_zeros_are_named(folder):
    names = ["p1", "P1", "007", "7", "x", "", "0", ""] + ["y"] * 4
    write(
        folder, ["image,label,patient", *(f"{index:03},{'ab'[index % 2]},{name}" for index, name in enumerate(names))]
    )
    assert open_table(folder, LABELS).notes[1] == (
        "2 groups in patient have several spellings (007 and 7, P1 and p1), which count as different groups: write "
        "them alike if they are the same"
    )


@pytest.mark.parametrize("column", ["MRN", "Case ID", "study_id", "AccessionNumber"])
def test_groups_are_known_by_the_names_that_hospitals_use(folder, column):
    lines = rows()
    write(folder, [lines[0].replace("PatientID", column), *lines[1:]])
    source = open_table(folder, LABELS)
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert f"group = {column}" in source.notes[0]


def test_a_patient_goes_before_a_study(folder):
    lines = rows()
    write(folder, [lines[0] + ",study_id", *(f"{line},{index}" for index, line in enumerate(lines[1:]))])
    assert "group = PatientID" in open_table(folder, LABELS).notes[0]


def test_an_anonymised_patient_does_not_hide_a_study(folder):
    lines = [re.sub(r"p\d+$", "ANON", line) for line in rows()]
    write(folder, [lines[0] + ",StudyInstanceUID", *(f"{line},1.2.{row // 3}" for row, line in enumerate(lines[1:]))])
    source = open_table(folder, LABELS)
    assert source.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and source.groups_given
    assert source.notes[1] == "column PatientID names 0 patients, so it is not used to group images"
    write(folder, [lines[0] + ",study_id", *(f"{line},{row}" for row, line in enumerate(lines[1:]))])
    assert not open_table(folder, LABELS).groups_given  # a study of its own for each image says nothing about patients


@pytest.mark.parametrize("value", ["unknown", "NaN", "N/A", "Anonymous", "none", "?", ""])
def test_unknown_patients_are_no_group(folder, value):
    write(folder, rows(*((index, f"{index:03},{'ill' if index % 4 < 2 else 'well'},{value}") for index in (0, 2, 5))))
    source = open_table(folder, LABELS)
    assert source.groups.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8]
    assert source.without_patient.tolist() == [0, 2, 5]
    assert "3 images have no known patient: similar images without one are grouped" in reading_notes(source)


def test_an_image_column_that_is_known_as_the_patient_names_images(folder):
    for index in range(12):
        (folder / f"{index:03}.png").rename(folder / f"p{index}.png")
    write(folder, ["patientId,Target", *(f"p{index},{'ab'[index % 2]}" for index in range(12))])
    source = open_table(folder, dataclasses.replace(LABELS, image="patientId"))
    assert len(source) == 12 and not source.groups_given
    assert "column patientId names the images, so it is not used to group them" in source.notes


def write_visits(folder, column, values):
    """Write 12 DICOM files of three patients, and a table with one more column."""
    pixels = np.random.default_rng(0).integers(0, 4000, (12, 8, 8), dtype=np.uint16)
    for index, image in enumerate(pixels):
        write_dicom(folder / f"{index:03}.dcm", image, PatientID=f"P{index // 4}")
    write(folder, [f"image,label,{column}", *(f"{index:03},{'ab'[index % 2]},{values[index]}" for index in range(12))])


@pytest.mark.parametrize("column", ["study_id", "StudyInstanceUID", "lesion_id"])
@pytest.mark.parametrize("values", [[index // 2 for index in range(12)], [index % 4 for index in range(12)]])
def test_a_visit_does_not_divide_the_patients_of_dicom_files(tmp_path, column, values):
    """Visits may have a number of their own, or be counted for each patient."""
    write_visits(tmp_path, column, values)
    source = open_table(tmp_path, LABELS)
    assert source.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert f"column {column} does not group images, because the image files name patients" in source.notes
    named = open_table(tmp_path, dataclasses.replace(LABELS, group=column))
    assert len(set(named.groups.tolist())) == len(set(values))


def test_an_unknown_patient_of_the_table_is_that_of_the_file(tmp_path):
    write_visits(tmp_path, "patient_id", ["a", "a", "a", "", "b", "", "c", "c", "", "", "", ""])
    source = open_table(tmp_path, LABELS)
    assert source.groups.tolist() == [0, 0, 0, 0, 1, 2, 3, 3, 4, 4, 4, 4]
