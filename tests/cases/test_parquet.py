"""Parquet files as people write them, through ``prepare``: read as meant, or refused with the file and the reason."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.cases.made import picture, save
from trainables.core.data.prepare import prepare
from trainables.core.errors import DataError

COUNT = 32
LABELS = [index % 2 for index in range(COUNT)]
NAMES = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["ill", "well"]}}}}
BINARY, TEXT = pa.binary(), pa.string()
ONE = "train-00000-of-00001"


def encoded(index):
    buffer = io.BytesIO()
    Image.fromarray(picture(LABELS[index], index)).save(buffer, "PNG")
    return buffer.getvalue()


def structs(indices=range(COUNT), binary=BINARY, text=TEXT, with_bytes=True):
    kind = pa.struct([("bytes", binary), ("path", text)])
    rows = [{"bytes": encoded(index) if with_bytes else None, "path": f"{index}.png"} for index in indices]
    return pa.array(rows, kind)


def write(root, name, images, labels, column="image", named=True, **more):
    file = root / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: images, "label": labels, **more})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(NAMES)} if named else {}), file)


def halves(root, first, second):
    write(root, first, structs(range(20)), LABELS[:20])
    write(root, second, structs(range(20, COUNT)), LABELS[20:])


def with_hidden_copies(root):
    write(root, f"data/{ONE}", structs(), LABELS)
    write(root, f"data/.ipynb_checkpoints/{ONE}-checkpoint", structs(), LABELS)
    (root / "data" / f"._{ONE}.parquet").write_bytes(b"\0\5\x16\7")


def with_an_empty_shard(root):
    write(root, "train-00000-of-00002", pa.array([], pa.null()), pa.array([], pa.null()))
    write(root, "train-00001-of-00002", structs(), LABELS, age=pa.array([None] * COUNT, pa.float64()))


def prepared(root, tmp_path):
    return prepare(str(root), sizes=[16], seed=0, store=tmp_path / "store")


def with_a_suffix_in_upper_case(root):
    halves(root, "train_0", "test_0")
    (root / "test_0.parquet").rename(root / "test_0.PARQUET")


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (lambda root: write(root, ONE, structs(), LABELS), None),
        (with_a_suffix_in_upper_case, 12),
        (lambda root: write(root, ONE, pa.array(map(encoded, range(COUNT)), pa.binary()), LABELS), None),
        (lambda root: write(root, ONE, structs(binary=pa.large_binary(), text=pa.large_string()), LABELS), None),
        (with_an_empty_shard, None),
        (with_hidden_copies, None),
        (lambda root: halves(root, "train_0", "test_0"), 12),
        (lambda root: halves(root, "training_set-00000-of-00001", "eval-00000-of-00001"), None),
    ],
)
def test_what_is_meant_is_read(tmp_path, make, test):
    make(tmp_path / "data")
    data = prepared(tmp_path / "data", tmp_path)
    assert (data.class_names, len(data.labels)) == (("ill", "well"), COUNT)
    assert sorted(data.labels.tolist()) == sorted(LABELS)
    assert test is None or len(data.splits["test"]) == test


def beside_class_folders(root):
    for index in range(COUNT):
        save(picture(LABELS[index], index), root / ("ill", "well")[LABELS[index]] / f"{index}.png")
    pq.write_table(pa.table({"file": ["0.png"], "age": [40]}), root / "clinical.parquet")


def with_equal_names(root):
    write(root, ONE, structs(), LABELS)
    names = {"info": {"features": {"label": {"names": ["a", "a"]}}}}
    table = pq.read_table(root / f"{ONE}.parquet").replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, root / f"{ONE}.parquet")


def two_configurations(root):
    for name in ("full", "small"):
        write(root, f"{name}/{ONE}", structs(), LABELS)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: write(root, ONE, structs(), [0.0, 1.0] * 16), f"{ONE}.parquet: labels must be text or integers"),
        (lambda root: write(root, ONE, structs(), [1, 2] * 16, named=False), "number the classes from 0, but the sm"),
        (lambda root: write(root, ONE, structs(), LABELS, "img"), f"{ONE}.parquet must have a column image, but has o"),
        (lambda root: write(root, ONE, structs(with_bytes=False), LABELS), "has only paths, such as 0.png"),
        (beside_class_folders, "clinical.parquet must have a column image, but has only file, age"),
        (
            lambda root: write(root, "train-00001-of-00003", structs(), LABELS),
            "must have 3 parquet files.* 2 are missing",
        ),
        (with_equal_names, "has 'a' and 'a': rename one of them"),
        (two_configurations, "look like several configurations of one data set"),
    ],
)
def test_anything_else_is_refused(tmp_path, make, reason):
    make(tmp_path / "data")
    with pytest.raises(DataError, match=reason):
        prepared(tmp_path / "data", tmp_path)


def test_a_patient_may_be_a_struct(tmp_path):
    patients = [{"id": index // 2, "site": "A"} for index in range(COUNT)]
    write(tmp_path / "data", ONE, structs(), LABELS, patient=pa.array(patients))
    assert prepared(tmp_path / "data", tmp_path).groups.tolist() == [index // 2 for index in range(COUNT)]
