"""Text labels, patients and metadata in parquet files of images."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.images import png
from trainables.core.data.readers.open_source import open_source
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
    assert sorted(source.metadata["age"]) == ["", "1.0", "3.0", "40.5"] and list(source.metadata) == ["age"]
    assert source.notes == (
        "column of the parquet files: group = patient_id",
        "1 images have no known patient, so each of their files is a group of its own",
    )


def test_unknown_patients_are_no_group(tmp_path):
    write(tmp_path, "train.parquet", ["a", "b"] * 3, MRN=["1", "unknown", "1", "unknown", "", "nan"])
    assert open_source(str(tmp_path)).groups.tolist() == [0, 1, 0, 2, 3, 4]


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
    assert not source.groups_given and not source.notes
