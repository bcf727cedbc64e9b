import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import DATASET, write_dataset
from tests.images import png, write_classes
from trainables.core.data.audited_dataset import reading_notes
from trainables.core.data.readers.open_source import PHANTOMS, checked_place, open_source
from trainables.core.errors import DataError

HUB_METADATA = (
    b'{"info": {"features": {"image": {"_type": "Image"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}'
)


def image(value: int) -> bytes:
    return png(np.full((8, 8), value, dtype=np.uint8))


def write_parquet(file, labels, metadata=HUB_METADATA, images=None):
    images = images or [image(index) for index in range(len(labels))]
    rows = pa.array(
        [{"bytes": data, "path": None} for data in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({"image": rows, "label": pa.array(labels, pa.int64())})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata} if metadata else {}), file)


def test_class_folders_without_splits(tmp_path):
    source = open_source(str(write_classes(tmp_path / "data", {"b": 2, "a": 3})))
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert set(source.published) == {""}
    assert source.names[0] == "a/000.png"
    assert source.read(0) == (tmp_path / "data" / "a" / "000.png").read_bytes()


@pytest.mark.parametrize("val", ["val", "validation", "Valid"])
def test_class_folders_with_splits(tmp_path, val):
    for split, count in {"train": 4, val: 2, "test": 3}.items():
        write_classes(tmp_path / split, {"x": count, "y": 1})
    source = open_source(str(tmp_path))
    assert source.class_names == ("x", "y")
    counts = {split: int((source.published == split).sum()) for split in ("train", "val", "test")}
    assert counts == {"train": 5, "val": 3, "test": 4}


def test_images_outside_class_folders_have_no_label_and_hidden_ones_do_not_count(tmp_path):
    write_classes(tmp_path / "train", {"x": 2, "y": 2})
    for place in ("loose.png", "test/unsorted.png", "train/.ipynb_checkpoints/a.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(image(0))
    source = open_source(str(tmp_path))
    unlabelled = [name for name, label in zip(source.names, source.labels, strict=True) if label == -1]
    assert unlabelled == ["loose.png", "test/unsorted.png"]
    assert len(source) == 6


def test_hub_converted_parquet_keeps_its_splits(tmp_path):
    write_parquet(tmp_path / "default" / "train" / "0000.parquet", [0, 1])
    write_parquet(tmp_path / "default" / "test" / "0000.parquet", [1])
    assert open_source(str(tmp_path)).published.tolist() == ["test", "train", "train"]


@pytest.mark.parametrize(
    ("names", "published"),
    [
        (("brains_test", "brains_train"), ["test", "train"]),
        (("brains-Training-0", "brains-val-0"), ["train", "val"]),
        (("brains_test", "train"), ["test", "train"]),
        (("stress_test",), [""]),
        (("stress_test", "train"), ["test", "train"]),
        (("brains_train_test", "brains_train"), ["", ""]),
    ],
)
def test_names_of_parquet_files_give_the_splits_wherever_they_say_so(tmp_path, names, published):
    for name in names:
        write_parquet(tmp_path / f"{name}.parquet", [0])
    assert open_source(str(tmp_path)).published.tolist() == published


def test_files_with_different_class_names_are_refused(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 1], HUB_METADATA.replace(b'["no", "yes"]', b'["yes", "no"]'))
    with pytest.raises(DataError, match="the same class names in the same order"):
        open_source(str(tmp_path))


def test_hub_layout_parquet(tmp_path):
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1])
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", [1])
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [0])
    source = open_source(str(tmp_path))
    assert source.class_names == ("no", "yes")
    assert source.published.tolist() == ["test", "train", "train", "train"]
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.read(2) == image(1)


@pytest.mark.parametrize(
    "split_of",
    [
        {"train": "train", "test": "test"},
        {"train_site_a": "train", "test_site_b": "test"},
        {"id_val": "val", "ood_test": "test"},
    ],
)
def test_a_hub_data_set_is_read_like_its_local_copy(hub, split_of):
    """Class names are in the README only. The library's own loading needs a copy of the images."""
    import datasets

    folder = write_dataset(hub.root, dict(zip(split_of, [[image(1), image(2), image(3)], [image(4)]], strict=True)))
    source = open_source(DATASET)
    assert source.class_names == ("healthy", "ill")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(hub.root / "arrow"))
    rows = [
        (split, row)
        for split, part in loaded.items()
        for row in part.cast_column("image", datasets.Image(decode=False))
    ]
    assert source.published.tolist() == [split_of[split] for split, _ in rows]
    assert sorted(open_source(str(folder)).published) == sorted(source.published)
    assert source.labels.tolist() == [row["label"] for _, row in rows] and source.labels.sum() == 1
    assert [source.read(index) for index in range(4)] == [row["image"]["bytes"] for _, row in rows]


def test_a_part_without_a_split_beside_others_is_refused(hub):
    folder = write_dataset(hub.root, {"train": [image(1), image(2)], "test": [image(3)], "external": [image(4)]})
    rule = r"must give a split \(one of train, .*\), as others do, but that of .*external.* does not"
    with pytest.raises(DataError, match=f"each part of the hub data set {DATASET} {rule}: download it, rename or"):
        open_source(DATASET)
    with pytest.raises(DataError, match=f"{rule}: rename it, or move it out of the data set"):
        open_source(str(folder))


def test_a_hub_data_set_that_is_cached_is_asked_about_once_and_not_at_all_with_its_commit(hub, capfd):
    write_dataset(hub.root, {"train": [image(1), image(2)]})
    place = checked_place(DATASET)
    assert place.startswith(f"{DATASET}@")
    hub.asked.clear()
    assert open_source(DATASET).read_all()[1] == open_source(place).read_all()[1]
    assert hub.asked == [f"GET /api/datasets/{DATASET}"]
    write_dataset(hub.root, {"train": [image(3), image(4)]})
    assert open_source(place).read(0) == image(1)
    assert open_source(DATASET).read(0) == image(3)
    assert capfd.readouterr() == ("", "")


def test_missing_rows_of_a_hub_data_set_are_noticed(hub):
    write_dataset(hub.root, {"train": [image(1), image(2)]}, rows=3)
    with pytest.raises(DataError, match=r"must have 3 rows in train, as its README says, but has 2: delete .* and run"):
        open_source(DATASET)


def test_a_hub_data_set_without_parquet_files_is_refused(hub):
    (write_dataset(hub.root, {"train": [image(1)]}) / "data" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match="must have readable Parquet files, but: .* as the data set") as caught:
        open_source(DATASET)
    assert "\n" not in str(caught.value)


def test_a_hub_data_set_that_cannot_be_loaded_names_the_reason_and_the_remedy(hub):
    hub.fault = "gated"
    for use in (checked_place, open_source):
        with pytest.raises(DataError, match="no folder owner/brains, .* is gated: .* pass its folder as the data set"):
            use(DATASET)


@pytest.mark.parametrize("place", ["./nowhere", "nowhere", "~/nowhere", "a/b/c", "file:///nowhere"])
def test_a_place_with_nothing_is_refused_before_anything_is_read(place):
    with pytest.raises(DataError, match=f"the data set must be .*{place}"):
        checked_place(place)


def test_places_that_need_no_hub_stay_as_they_are(tmp_path):
    assert [checked_place(place) for place in (str(tmp_path), tmp_path.as_uri(), PHANTOMS)] == [
        str(tmp_path),
        tmp_path.as_uri(),
        PHANTOMS,
    ]


def test_parquet_without_class_names_numbers_them(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 2, 1], metadata=None)
    assert open_source(str(tmp_path)).class_names == ("class_0", "class_1", "class_2")


def test_a_missing_label_is_minus_one(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, None, 1])
    assert open_source(str(tmp_path)).labels.tolist() == [0, -1, 1]


def test_phantoms_are_grouped_and_marked_as_synthetic():
    source = open_source(PHANTOMS)
    assert source.synthetic
    assert len(np.unique(source.groups)) < len(source) / 3
    assert source.read(0).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "has no images"),
        (
            lambda root: write_classes(root / "d", {"only": 3}),
            "a classification needs at least two classes, but .* has 1",
        ),
        (lambda root: write_parquet(root / "t.parquet", [0, 5]), "labels must be below 2"),
        (
            lambda root: write_parquet(root / "t.parquet", [0, 1], HUB_METADATA.replace(b"yes", b"no")),
            "class names must differ",
        ),
        (lambda root: (root / "t.parquet").write_bytes(b"torn"), "not a readable parquet file"),
        (
            lambda root: pq.write_table(pa.table({"pixels": [1]}), root / "t.parquet"),
            "t.parquet must have a column image, but has only pixels: ",
        ),
        (
            lambda root: pq.write_table(pa.table({"image": [1], "label": [1]}), root / "t.parquet"),
            "must contain encoded bytes",
        ),
    ],
)
def test_unsuitable_data_are_refused(tmp_path, make, message):
    make(tmp_path)
    place = tmp_path / "d" if (tmp_path / "d").exists() else tmp_path
    with pytest.raises(DataError, match=message) as caught:
        open_source(str(place))
    assert "\n" not in str(caught.value)


def write_table(file, image, label, metadata=HUB_METADATA):
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": image, "label": label})
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), file)


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary()])
def test_images_may_be_plain_or_large_binary(tmp_path, binary):
    images = [image(value) for value in range(3)]
    rows = [{"bytes": data, "path": f"{index}.png"} for index, data in enumerate(images)]
    struct = pa.array(rows, pa.struct([("bytes", binary), ("path", pa.large_string())]))
    for place, column in (("struct", struct), ("plain", pa.array(images, binary))):
        write_table(tmp_path / place / "train.parquet", column, [0, 1, 1])
        source = open_source(str(tmp_path / place))
        assert [source.read(index) for index in range(3)] == images
        assert list(source.files) == (["0.png", "1.png", "2.png"] if place == "struct" else ["", "", ""])


def test_files_without_rows_are_skipped_whatever_their_columns(tmp_path):
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [0, 1])
    write_table(tmp_path / "train-00000-of-00002.parquet", pa.array([], pa.null()), pa.array([], pa.null()))
    assert len(open_source(str(tmp_path))) == 2
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="has no images: its 1 parquet files have no rows"):
        open_source(str(tmp_path))


def test_paths_without_bytes_are_named(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    write_table(tmp_path / "all" / "train.parquet", pa.array(paths, kind), [0, 1])
    with pytest.raises(DataError, match=r"train.parquet: .* but has only paths, such as a.png"):
        open_source(str(tmp_path / "all"))
    write_table(tmp_path / "one" / "train.parquet", pa.array([{"bytes": image(0), "path": ""}, paths[1]], kind), [0, 1])
    unreadable = open_source(str(tmp_path / "one")).read_all()[0].unreadable
    assert unreadable == {1: "the row has only the path 'b.png' and no bytes"}


def test_a_table_of_something_else_is_named(tmp_path):
    write_classes(tmp_path, {"ill": 2, "well": 2})
    pq.write_table(pa.table({"file": ["000.png"], "age": [40]}), tmp_path / "clinical.parquet")
    with pytest.raises(DataError, match=r"clinical.parquet must have a column image, but has only file, age: .* move"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "metadata", "message"),
    [
        ([0.5, 1.0], HUB_METADATA, "train.parquet: labels must be text or integers, but are double"),
        ([1, 2], b"{}", "labels must number the classes from 0, but the smallest is 1"),
    ],
)
def test_labels_that_do_not_number_the_classes_are_refused(tmp_path, labels, metadata, message):
    write_table(tmp_path / "train.parquet", pa.array([image(0), image(1)], pa.binary()), labels, metadata)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path))


def test_a_missing_folder_is_refused():
    with pytest.raises(DataError, match="the data set must be a folder, an s3:// or gs://"):
        open_source("./nowhere")


def test_files_beside_parquet_are_counted_also_if_they_are_images(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1])
    for name in ("README.md", "1.png", "2.png"):
        (tmp_path / name).touch()
    assert open_source(str(tmp_path)).unread == {".png": 2, ".md": 1}


def test_words_for_unknown_patients_in_file_names_are_no_group(tmp_path):
    for index, name in enumerate(("a/anon_1", "a/anon_2", "b/p7_1", "b/p7_2", "b/p8_1", "b/scan")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(image(index))
    source = open_source(str(tmp_path), group_pattern=r"^(\w+)_")
    assert source.groups.tolist() == [0, 1, 2, 2, 3, 4]
    assert reading_notes(source)[0] == "3 images have no known patient: similar images without one are grouped"
    with pytest.raises(DataError, match="at least two groups, .* but --group-pattern 'png' puts all 6 in one"):
        open_source(str(tmp_path), group_pattern="png")
