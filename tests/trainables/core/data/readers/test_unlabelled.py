import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.images import png
from trainables.core.data.readers.unlabelled import NamedImage, batches, find_parts, read_part, without_repeats
from trainables.core.errors import DataError


def image(value):
    return png(np.full((8, 8), value, np.uint8))


def write_parquet(file, rows, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([None if row is None else {"bytes": row, "path": "x.png"} for row in rows], kind)
    pq.write_table(pa.table({"image": column}), file, **options)


def read(*places):
    return [named for part in find_parts([str(place) for place in places]) for named in read_part(part)]


def test_places_keep_their_order_and_folders_are_sorted(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for value, file in enumerate(("deep/b.png", "deep/er/a.PNG", "deep/a.jpeg", "first.dat")):
        (tmp_path / file).write_bytes(image(value))
    (tmp_path / "deep" / "notes.txt").write_text("no image")
    (tmp_path / "deep" / ".hidden.png").write_bytes(image(9))
    found = read(tmp_path / "first.dat", tmp_path / "deep")
    assert [named.name for named in found] == [
        str(tmp_path / name) for name in ("first.dat", "deep/a.jpeg", "deep/b.png", "deep/er/a.PNG")
    ]
    assert [named.data for named in found] == [image(value) for value in (3, 2, 0, 1)]


def test_parquet_without_labels_is_read_by_row_groups(tmp_path):
    write_parquet(tmp_path / "set" / "test.parquet", [image(value) for value in range(150)], row_group_size=70)
    parts = find_parts([str(tmp_path / "set")])
    assert [(part.row_group, part.first_row, part.images) for part in parts] == [(0, 0, 70), (1, 70, 70), (2, 140, 10)]
    found = read(tmp_path / "set")
    assert [named.data for named in found] == [image(value) for value in range(150)]
    assert found[141].name == f"{tmp_path / 'set' / 'test.parquet'} row 141"


def test_a_row_without_an_image_does_not_affect_other_rows(tmp_path):
    write_parquet(tmp_path / "a.parquet", [image(0), None, b"", image(1)])
    assert [named.error for named in read(tmp_path / "a.parquet")] == [
        "",
        "the row has no image",
        "the row has only the path 'x.png' and no bytes",
        "",
    ]


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary()])
def test_images_may_be_plain_or_large_binary(tmp_path, binary):
    images = [image(value) for value in range(3)]
    rows = [{"bytes": data, "path": "x.png"} for data in images]
    struct = pa.array(rows, pa.struct([("bytes", binary), ("path", pa.large_string())]))
    for name, column in (("struct", struct), ("plain", pa.array(images, binary))):
        pq.write_table(pa.table({"image": column}), tmp_path / f"{name}.parquet")
        assert [named.data for named in read(tmp_path / f"{name}.parquet")] == images


def test_files_that_change_after_listing_fail_image_by_image(tmp_path):
    (tmp_path / "gone.png").write_bytes(image(0))
    write_parquet(tmp_path / "torn.parquet", [image(value) for value in range(5)])
    parts = find_parts([str(tmp_path)])
    (tmp_path / "gone.png").unlink()
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    found = [named for part in parts for named in read_part(part)]
    assert found[0] == NamedImage(str(tmp_path / "gone.png"), error="cannot be read: No such file or directory")
    assert len(found) == 6
    assert all(named.error.startswith("cannot be read: ") for named in found)


def test_a_file_that_is_given_again_counts_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value, name in enumerate(("a.png", "b.png")):
        (tmp_path / name).write_bytes(image(value))
    write_parquet(tmp_path / "c.parquet", [image(2)] * 3, row_group_size=2)
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    given = find_parts(["b.png", ".", str(tmp_path / "a.png"), "below/../c.parquet", "link/b.png"])
    assert len(given) == 9
    assert [name for part in without_repeats(given) for name in part.image_names] == [
        "b.png", "a.png", "c.parquet row 0", "c.parquet row 1", "c.parquet row 2",
    ]  # fmt: skip


def test_a_table_in_a_folder_holds_no_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(image(0))
    pq.write_table(pa.table({"image": ["a"], "grade": [1]}), tmp_path / "labels.parquet")
    assert [part.name for part in find_parts(["."], [tmp_path / "labels.parquet"])] == ["a.png"]
    with pytest.raises(DataError, match="the column image must contain encoded bytes"):
        find_parts(["."])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "nowhere does not exist"),
        (lambda folder: folder, "has no images"),
        (lambda folder: (folder / "x.parquet").write_text("no") and folder / "x.parquet", "is not a readable parquet"),
        (
            lambda folder: pq.write_table(pa.table({"a": [1]}), folder / "x.parquet") or folder,
            "x.parquet must have a column image, but has none",
        ),
        (lambda folder: pq.write_table(pa.table({"image": [1]}), folder / "x.parquet") or folder, "but is int64"),
    ],
)
def test_places_without_images_are_refused(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        find_parts([str(make(tmp_path))])


def test_batches_read_no_image_ahead():
    taken = []
    images = (taken.append(index) or NamedImage(str(index)) for index in range(5))
    stream = batches(images, 2)
    assert [named.name for named in next(stream)] == ["0", "1"]
    assert taken == [0, 1]
    assert [[named.name for named in batch] for batch in stream] == [["2", "3"], ["4"]]
