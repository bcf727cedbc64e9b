import dataclasses
import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dicom import write_dicom
from tests.hub import DATASET, write_dataset
from tests.images import png, write_classes
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode import decoded_files, images
from trainables.core.data.decode.images import decode
from trainables.core.data.prepare import prepare
from trainables.core.data.readers import image_entries, untrusted_files
from trainables.core.data.readers.open_source import checked_place, open_source
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import DataError, MissingPackageError
from trainables.core.node_cache import StoreFullError


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path / "data", {"a": 12, "b": 8})


def prepared(root, tmp_path, **options):
    return prepare(str(root), sizes=[16], seed=0, store=tmp_path / "store", **options)


def test_images_equal_the_decoded_files(root, tmp_path):
    data = prepared(root, tmp_path)
    source = open_source(str(root))
    images = data.images(16)
    assert images.shape == (20, 16, 16, 1)
    assert not images.flags.writeable
    for index in range(len(source)):
        np.testing.assert_array_equal(images[index], decode(source.read(index), 16, data.pixel_format))


def test_a_second_run_decodes_nothing(root, tmp_path, monkeypatch):
    opened, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **options: opened.append(1) or open_image(*args, **options))
    first = prepared(root, tmp_path)
    assert len(opened) == 80  # each of the 20: header, decoded for training, decoded twice for the audit
    second = prepared(root, tmp_path)
    assert len(opened) == 80
    assert second.audit == first.audit
    assert second.fingerprint == first.fingerprint and second.pixel_format == first.pixel_format
    np.testing.assert_array_equal(second.images(16), first.images(16))


def test_images_above_the_cache_limit_are_refused_with_the_remedy(root, tmp_path):
    with pytest.raises(StoreFullError, match="raise --cache-size"):
        prepared(root, tmp_path, cache_size=20 * 16 * 16 - 1)
    assert not list((tmp_path / "store").glob("images-*"))
    assert prepared(root, tmp_path, cache_size=10**6).open_store().limit == 10**6


def test_a_full_disk_leaves_no_entry(root, tmp_path, monkeypatch):
    def torn(file, shape, dtype, parts):
        file.write_bytes(next(iter(parts)).tobytes())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoded_files, "write_array", torn)
    with pytest.raises(OSError, match="No space left"):
        prepared(root, tmp_path)
    assert not list((tmp_path / "store").glob("*images-*[!k]"))


def test_a_node_without_the_pixels_decodes_them_itself(root, tmp_path):
    data = prepared(root, tmp_path)
    elsewhere = dataclasses.replace(data, store=tmp_path / "other node")
    np.testing.assert_array_equal(elsewhere.images(16), data.images(16))


def test_a_node_decodes_data_whose_groups_were_given_elsewhere(root, tmp_path):
    data = inspect(str(root), grouping=Grouping(pattern=r"(\d)\."), store=tmp_path / "store")
    assert len(np.unique(data.groups)) < len(data.groups)
    elsewhere = dataclasses.replace(data, store=tmp_path / "other node")
    np.testing.assert_array_equal(elsewhere.images(16), data.images(16))


def test_a_node_with_other_data_refuses(root, tmp_path):
    data = prepared(root, tmp_path)
    shutil.copy(root / "a" / "000.png", root / "a" / "999.png")
    with pytest.raises(DataError, match="differs from the data that the search began with"):
        dataclasses.replace(data, store=tmp_path / "other node").images(16)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_no_failure_of_a_node_becomes_a_black_image(root, tmp_path, monkeypatch, error):
    data = prepared(root, tmp_path)
    elsewhere = dataclasses.replace(data, store=tmp_path / "other node")
    read, reads = untrusted_files.read_file, []

    def failing(file):
        reads.append(file)
        if len(reads) == 20 + 7:  # every file is read once for its digest, and the seventh fails afterwards
            raise error
        return read(file)

    monkeypatch.setattr(image_entries, "read_file", failing)
    with pytest.raises(type(error)):
        elsewhere.images(16)
    assert not list((tmp_path / "other node").glob("images-*"))
    np.testing.assert_array_equal(elsewhere.images(16), data.images(16))


def test_a_decoder_that_runs_out_of_memory_says_nothing_about_the_image(root, tmp_path, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(images, "to_pixels", exhausted)
    with pytest.raises(MemoryError):
        prepared(root, tmp_path, skip_bad_images=True)


def test_a_node_that_fails_to_decode_what_the_driver_could_caches_nothing(root, tmp_path, monkeypatch):
    data = prepared(root, tmp_path)
    elsewhere = dataclasses.replace(data, store=tmp_path / "other node")

    def broken(*_):
        raise DataError("not a readable image: a codec is missing")

    monkeypatch.setattr(decoded_files, "decode", broken)
    with pytest.raises(DataError, match=r"differs from the data of the driver: a/000.png .* a codec is missing"):
        elsewhere.images(16)
    assert not list((tmp_path / "other node").glob("images-*"))


def test_a_file_that_cannot_be_read_is_named_and_not_remembered(root, tmp_path, monkeypatch):
    read = untrusted_files.read_file

    def denied(file):
        if file.name == "003.png" and file.parent.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(file)

    with monkeypatch.context() as patch:
        patch.setattr(image_entries, "read_file", denied)
        with pytest.raises(DataError, match=r"1 are not \(b/003.png: cannot be read: Permission denied\)"):
            prepared(root, tmp_path)
        assert len(np.concatenate(list(prepared(root, tmp_path, skip_bad_images=True).splits.values()))) == 19
    assert len(np.concatenate(list(prepared(root, tmp_path).splits.values()))) == 20


@pytest.mark.parametrize("change", ["pixel", "label", "new image"])
def test_the_fingerprint_follows_the_content(root, tmp_path, change):
    before = prepared(root, tmp_path).fingerprint
    if change == "pixel":
        shutil.copy(root / "a" / "000.png", root / "a" / "001.png")
    elif change == "label":
        (root / "a" / "000.png").rename(root / "b" / "900.png")
    else:
        shutil.copy(root / "a" / "000.png", root / "a" / "999.png")
    assert prepared(root, tmp_path).fingerprint != before


def test_bad_images_are_refused_and_listed(root, tmp_path):
    (root / "a" / "000.png").write_bytes(b"")
    (root / "b" / "003.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 are not \(a/000.png: not a readable image.*b/003.png.*--skip-bad-images"):
        prepared(root, tmp_path)


def test_bad_images_can_be_left_out_and_are_counted(root, tmp_path):
    (root / "a" / "000.png").write_bytes(b"")
    data = prepared(root, tmp_path, skip_bad_images=True)
    assert 0 not in np.concatenate(list(data.splits.values()))
    assert "1 unusable image was left out" in data.notes


def test_a_long_list_of_bad_images_is_written_to_a_file(tmp_path):
    root = write_classes(tmp_path / "data", {"a": 30, "b": 8})
    for file in (root / "a").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="30 are not .*and 20 more, all in ") as caught:
        prepared(root, tmp_path)
    listing = re.search(r"all in (.*?\.txt)", str(caught.value)).group(1)
    assert len(Path(listing).read_text().splitlines()) == 30


def test_identical_files_are_in_one_split(tmp_path):
    root = write_classes(tmp_path / "data", {"a": 20, "b": 20})
    for index in range(10, 20):
        shutil.copy(root / "a" / "000.png", root / "a" / f"{index:03d}.png")
    data = prepared(root, tmp_path)
    sides = [name for name, indices in data.splits.items() if np.isin(np.arange(10, 20), indices).any()]
    assert len(sides) == 1
    assert len(np.unique(data.groups)) == 30


@pytest.mark.slow
def test_phantoms_are_split_by_subject_and_marked(tmp_path):
    data = prepare("phantoms", sizes=[32], seed=0, store=tmp_path)
    subjects = [set(data.groups[indices]) for indices in data.splits.values()]
    assert sum(map(len, subjects)) == len(set.union(*subjects))
    assert any("synthetic" in note for note in data.notes)


@pytest.mark.slow
@pytest.mark.mri
def test_the_real_images(real_data, tmp_path):
    data = prepare(str(real_data / "alzheimer_mri"), sizes=[128], seed=0, store=tmp_path, split="published")
    assert data.class_names == ("Mild_Demented", "Moderate_Demented", "Non_Demented", "Very_Mild_Demented")
    assert len(data.splits["test"]) == 1024
    assert data.images(128).shape == (5120, 128, 128, 1)
    twins = re.search(r"(\d+) of 1024 test images share their group with training images", " ".join(data.notes))
    assert int(twins.group(1)) > 980


def test_many_classes_with_too_few_images_are_one_note(tmp_path):
    write_classes(tmp_path / "data", {f"kind_{index:02}": 2 for index in range(12)} | {"usual": 40, "zebra": 40})
    notes = prepare(str(tmp_path / "data"), sizes=[8], seed=0, split="random", store=tmp_path / "store").notes
    (note,) = [note for note in notes if "too few" in note]
    assert note.startswith("12 classes have too few groups (kind_00, kind_01, kind_02, kind_03, kind_04 and 7 more): ")


NODE = """
import pickle, sys
data = pickle.loads(open(sys.argv[1], "rb").read())
print(data.images(32).sum())
"""


@pytest.mark.slow
def test_no_worker_asks_the_hub_for_what_its_node_has(hub, tmp_path):
    """A process on the driver's node and two on another one. Starting them takes most of the seconds."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    encoded = [png(pixels) for pixels in noise]
    write_dataset(hub.root, {"train": encoded[:40], "test": encoded[40:]})
    place = checked_place(DATASET)
    data = prepare(place, sizes=[32], seed=0)
    assert data.place == place
    (tmp_path / "data.pickle").write_bytes(pickle.dumps(data))
    hub.asked.clear()
    command = [sys.executable, "-c", NODE, str(tmp_path / "data.pickle")]
    same = os.environ | {"TUNE_RUN_CACHE": str(tmp_path / "cache-2")}  # no decoded images
    other = os.environ | {"TUNE_RUN_CACHE": str(tmp_path / "cache-3"), "HF_HOME": str(tmp_path / "home-3")}
    python = {"cwd": Path(__file__).parents[4], "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, env=node, **python) for node in (same, other, other)]
    assert [int(process.communicate()[0]) for process in running] == [data.images(32).sum()] * 3
    downloaded = [line for line in hub.asked if line.startswith("GET")]
    assert len(downloaded) == len(set(downloaded)) == 4, downloaded  # by one: the listing and three files
    assert f"GET /api/datasets/{DATASET}" not in downloaded


@pytest.mark.parametrize("content", [lambda data: data[: len(data) // 2], lambda data: bytes(len(data)), lambda _: b""])
def test_a_torn_survey_is_made_again(root, tmp_path, content):
    expected = prepared(root, tmp_path).pixel_format
    (file,) = (tmp_path / "store").glob("survey-*/*.npy")
    file.write_bytes(content(file.read_bytes()))
    assert prepared(root, tmp_path).pixel_format == expected


def test_a_missing_package_is_not_remembered_once_it_is_installed(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 4000, (24, 16, 16), dtype=np.uint16)
    for index, image in enumerate(pixels):
        write_dicom(tmp_path / "data" / "ab"[index % 2] / f"{index:03}.dcm", image)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pydicom", None)
        for options in ({}, {"skip_bad_images": True}):
            with pytest.raises(MissingPackageError, match="reading DICOM needs pydicom"):
                prepared(tmp_path / "data", tmp_path, **options)
    assert sum(map(len, prepared(tmp_path / "data", tmp_path).splits.values())) == 24
