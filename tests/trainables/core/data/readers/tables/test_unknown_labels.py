import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.images import png
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.readers.tables.unknown_labels import check_known
from trainables.core.errors import DataError

REASON = "usually means that the class is not known: empty these cells, or rename it, such as to 'class {}'"


def images(folder, labels):
    for index, _ in enumerate(labels):
        (folder / f"{index}.png").write_bytes(png(np.full((8, 8), index, np.uint8)))
    lines = [f"{index},{label}" for index, label in enumerate(labels)]
    (folder / "labels.csv").write_text("\n".join(["image,label", *lines]))
    return open_source(str(folder), table=LabelTable(("labels.csv",)))


@pytest.mark.parametrize("name", ["unknown", "Unknown ", "UNK", "-", "not_known", "Unlabeled", "exclude", "missing"])
def test_a_label_that_means_unknown_is_no_class(tmp_path, name):
    with pytest.raises(DataError, match=f"{name.strip()}' for 2 images, which {REASON.format(name.strip())}"):
        images(tmp_path, ["ill", "well", name] * 2)


@pytest.mark.parametrize(("values", "code"), [("-1 0 1", "-1"), ("0 1 9", "9"), ("0 1 2 3 99", "99"), ("1 2 -9", "-9")])
def test_a_number_that_stands_for_a_missing_value_is_no_grade(tmp_path, values, code):
    with pytest.raises(DataError, match=f"column label of labels.csv has '{code}' for 2 images"):
        images(tmp_path, values.split() * 2)


@pytest.mark.parametrize("values", ["-1 1", "0 1 2", "7 8 9", "4 9", "none mild", "uncertain sure"])
def test_other_values_are_classes(values):
    check_known(values.split(), [], "label", "t.csv")


def test_a_class_may_be_called_unknown_by_saying_so(tmp_path):
    assert images(tmp_path, ["ill", "well", "class unknown"] * 2).class_names == ("class unknown", "ill", "well")


def test_one_of_several_labels_may_be_unknown_too(tmp_path):
    with pytest.raises(DataError, match="'unknown' for 4 images"):
        images(tmp_path, ["mass|unknown", "mass", "unknown"] * 2)


def test_text_in_parquet_follows_the_same_rule(tmp_path):
    cells = pa.array([png(np.full((8, 8), index, np.uint8)) for index in range(4)], pa.binary())
    pq.write_table(pa.table({"image": cells, "label": ["ill", "well", "?", "?"]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"has '\?' for 2 images, which " + REASON.format(r"\?")):
        open_source(str(tmp_path))
