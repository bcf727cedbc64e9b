"""Image files in class folders, and the note about other files."""

import numpy as np
import pytest
from PIL import Image

from tests.images import png, write_classes
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.unlabelled import find_parts
from trainables.core.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jfif", "JPEG"), (".jpe", "JPEG"), (".apng", "PNG"), (".pnm", "PPM"), (".pbm", "PPM")]
)
def test_rarer_suffixes_are_read_by_training_and_by_prediction(tmp_path, suffix, kind):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(GREY).save(tmp_path / name / f"1{suffix}", format=kind)
    assert len(open_source(str(tmp_path))) == len(find_parts([str(tmp_path)])) == 2


def test_thumbnails_and_hidden_files_are_ignored(tmp_path):
    write_classes(tmp_path, {"a": 3, "b": 3})
    for folder in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "a/@eaDir", "b/__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "thumbnail.png").write_bytes(png(GREY))
    (tmp_path / "a" / "._000.png").write_bytes(b"resource fork")
    source = open_source(str(tmp_path))
    assert (source.class_names, len(source), dict(source.unread)) == (("a", "b"), 6, {})
    assert len(find_parts([str(tmp_path)])) == 6


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path):
    write_classes(tmp_path / "data", {"a": 12, "b": 8})
    for name in ("a/list.txt", "a/more.TXT", "b/README", "labels.csv"):
        (tmp_path / "data" / name).touch()
    note = "4 files were not read: 2 .txt, 1 .csv, 1 without suffix"
    assert note in prepare(str(tmp_path / "data"), sizes=[8], seed=0, store=tmp_path / "store").notes
    assert inspect(str(tmp_path / "data"), store=tmp_path / "store").notes == (note,)


def test_a_class_without_images_is_refused_with_the_suffixes_of_its_files(tmp_path):
    write_classes(tmp_path, {"a": 3})
    (tmp_path / "b").mkdir()
    for index in range(3):
        (tmp_path / "b" / f"{index}.dcm").touch()
    with pytest.raises(DataError, match="class 'b' in .* has no images: 3 files were not read: 3 .dcm"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(("one", "other"), [("NORMAL", "Normal"), ("caf\u00e9", "cafe\u0301"), ("healthy", "healthy ")])
def test_class_names_that_are_equal_to_people_are_refused(tmp_path, one, other):
    write_classes(tmp_path / "train", {one: 2, "ill": 2})
    write_classes(tmp_path / "test", {other: 2, "ill": 2})
    with pytest.raises(DataError, match=r"differ in more than case, .* has '.*' and '.*': rename one of them"):
        open_source(str(tmp_path))
