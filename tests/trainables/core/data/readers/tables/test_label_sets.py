import numpy as np
import pytest

from tests.images import png, write_labelled
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.errors import DataError

LABELS = LabelTable(("labels.csv",))
SETS = ["Mass", "Effusion|Mass", "No Finding", "Effusion", "mass| Nodule |", "No Finding", "Nodule", "Effusion|Nodule"]


def table(root, header, rows):
    """Write a table with a row per image, and the images."""
    pixels = np.random.default_rng(0).integers(0, 255, (len(rows), 16, 16), dtype=np.uint8)
    for index, image in enumerate(pixels):
        (root / f"{index:03}.png").write_bytes(png(image))
    lines = [f"image,{header}", *(f"{index:03},{row}" for index, row in enumerate(rows))]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def opened(root, label=None):
    return open_source(str(root), table=LabelTable(("labels.csv",), label=label))


def test_a_column_of_several_labels(tmp_path):
    values = [value.replace("mass", "Mass") for value in SETS]
    source = opened(table(tmp_path, "Finding Labels", values))
    assert source.class_names == ("Effusion", "Mass", "Nodule")
    assert source.labels.tolist() == [
        [0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 1],
    ]  # fmt: skip
    assert source.notes == (
        "columns of the table: image = image, label = Finding Labels",
        "images have any number of 3 labels (Effusion, Mass, Nodule): 2 have none (No Finding), 3 have one, 3 have "
        "several",
    )


COLUMNS = ["1,0,0", "0,1,1", "0,0,0", "1,1,0", "0,0,1", "0,1,0", "1,0,1", "0,0,0"]


@pytest.mark.parametrize("label", [None, "Effusion,Mass,Nodule", "Nodule, Effusion"])
def test_a_column_of_0_and_1_for_each_label(tmp_path, label):
    rows = [f"{values},{index % 2},{50 + index}" for index, values in enumerate(COLUMNS)]
    source = opened(table(tmp_path, "Effusion,Mass,Nodule,patient,age", rows), label)
    matrix = np.array([row.split(",")[:3] for row in rows], dtype=int)
    names = ["Effusion", "Mass", "Nodule"] if label != "Nodule, Effusion" else ["Effusion", "Nodule"]
    assert list(source.class_names) == names
    np.testing.assert_array_equal(
        source.labels, matrix[:, [["Effusion", "Mass", "Nodule"].index(name) for name in names]]
    )
    assert source.groups.tolist() == [0, 1] * 4
    assert "age" in source.metadata
    assert f"{(source.labels.sum(axis=1) == 0).sum()} have none, " in source.notes[1]
    assert f"label = {','.join(names) if label is None else label.replace(', ', ',')}" in source.notes[0]


def test_no_finding_beside_other_columns_is_the_empty_set(tmp_path):
    rows = ["0,1,1", "1,0,0", "0,1,0", "0,0,1", "1,0,0", "0,1,0", "1,1,0", "0,0,0"]
    source = opened(table(tmp_path, "No Finding,Mass,Nodule", rows))
    assert source.class_names == ("Mass", "Nodule")
    assert source.labels.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1], [0, 0], [1, 0], [-1, -1], [-1, -1]]
    assert dict(source.unreadable) == {6: "has the labels No Finding and Mass"}  # the last one has no label at all


def test_columns_of_which_each_image_has_exactly_one_are_classes(tmp_path):
    rows = ["1,0,0", "0,1,0", "0,0,1"] * 3
    source = opened(table(tmp_path, "MEL,NV,BCC", rows))
    assert source.class_names == ("BCC", "MEL", "NV")
    assert source.labels.tolist() == [1, 2, 0] * 3


def test_rows_without_labels_or_that_contradict_themselves_are_bad_images(tmp_path):
    source = opened(table(tmp_path, "labels", ["No Finding|Mass", "", *SETS[:3], "Nodule", "Mass", "Nodule"]))
    assert dict(source.unreadable) == {0: "has the labels No Finding and Mass"}
    assert source.labels[:2].tolist() == [[-1] * 3] * 2
    with pytest.raises(DataError, match=r"2 are not \(000.png: has .* No Finding and Mass; 001.png: has no label\)"):
        prepare(str(tmp_path), table=LABELS, sizes=[16], seed=0)


@pytest.mark.parametrize(
    ("header", "rows", "label", "message"),
    [
        (
            "Mass,Nodule",
            ["1,-1", "0,1", "1,0"],
            "Mass,Nodule",
            "must hold 0 or 1, but Nodule of labels.csv has -1: cor",
        ),
        ("Mass,Nodule", ["1,1", "0,1", "1,0"], "Mass,Nodul", r"got 'Nodul' \(did you mean 'Nodule'\?\)"),
        ("Mass,Nodule", ["1,1", "0,1", "1,0"], "Mass,Mass", "must name each column once, but got Mass,Mass"),
        (
            "Mass,Nodule,Edema",
            ["1,1,-1", "0,1,0", "1,0,1"],
            None,
            "Mass, Nodule of labels.csv hold 0 and 1, but Edema also -1: if it is a label, write 0, 1 or an empty cell",
        ),
        ("Mass,sex,Nodule", ["1,1,0", "0,1,1", "1,0,0"], None, "sex may be no label: .* --label-column Mass,Nodule"),
        (
            "labels",
            ["Mass;Nodule", "Mass", "Nodule"],
            None,
            "separated by '|', but column labels .* Mass;Nodule: write",
        ),
        ("labels", ["Mass, Nodule", "Mass", "Edema, Mass"], None, "has Edema, Mass, Mass, Nodule: write"),
        ("labels", ["Mass or Nodule", "Mass", "Nodule"], None, "or another sign than 'or' within the name"),
        ("labels", ["Mass and Nodule", "Mass", "Nodule"], None, "or another sign than 'and' within the name"),
        (
            "labels",
            ["['Mass', 'Nodule']", "['Mass']", "[]"],
            None,
            r"has lists, such as \['Mass', 'Nodule'\]: write them like A|B",
        ),
        ("labels", ["Mass, Nodule", "Mass", "Nodule"], "labels", "column labels of labels.csv has"),
        ("labels", ["A|B", "C|D", "E|F"], None, "labels.csv has 6 values for 3 images: name another one"),
    ],
)
def test_unclear_labels_are_refused_with_the_remedy(tmp_path, header, rows, label, message):
    rows = [f'"{row}"' if header == "labels" else row for row in rows]
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        opened(table(tmp_path, header, rows), label)


def test_class_names_may_have_commas(tmp_path):
    source = opened(table(tmp_path, "label", ['"mass, left"', '"mass, right"', "none"] * 4))
    assert source.class_names == ("mass, left", "mass, right", "none")


def test_the_audit_counts_an_image_for_each_label(tmp_path):
    write_labelled(tmp_path, 60)
    audit = inspect(str(tmp_path), table=LABELS, store=tmp_path / "store").audit
    source = opened(tmp_path)
    assert audit.class_counts == dict(zip(source.class_names, source.labels.sum(axis=0).tolist(), strict=True))
    with_dots = source.labels[:, source.class_names.index("dots")] == 1
    assert audit.groups_per_class["dots"] == len(np.unique(source.groups[with_dots]))
    pairs = source.labels.reshape(30, 2, 3)
    assert audit.contradicting_groups == (pairs[:, 0] != pairs[:, 1]).any(axis=1).sum()
    assert audit.majority_share == np.unique(source.labels, axis=0, return_counts=True)[1].max() / 60


def test_every_split_has_images_with_each_label(labelled_data):
    assert labelled_data.task == "multi_label"
    assert labelled_data.labels.shape == (160, 3)
    for rows in labelled_data.splits.values():
        assert labelled_data.labels[rows].any(axis=0).all()
    assert labelled_data.test_twins == 0
