import os
import tempfile
from pathlib import Path

import pytest

from tests.images import write_classes, write_pairs
from trainables.core.data.readers.image_files import MASK_LISTING, describe_unread, find_images, unread_files
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.unlabelled import find_parts
from trainables.core.errors import DataError
from trainables.core.node_cache import Store

NOBODY = 65534


@pytest.fixture
def locked():
    """Class folders in which one folder may not be listed, as another user if the tests run as root."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:  # another user cannot enter the folders of tmp_path
        Path(folder).chmod(0o777)
        root = write_classes(Path(folder) / "data", {"ill": 3, "well": 3, "well/more": 3})
        (root / "well" / "more").chmod(0)
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield root
        finally:
            if is_root:
                os.seteuid(0)
            (root / "well" / "more").chmod(0o755)


def open_with_a_store(root):
    return open_source(str(root), store=Store(root.parent / "store"))


@pytest.mark.parametrize("read", [find_images, unread_files, open_with_a_store, lambda root: find_parts([str(root)])])
def test_a_folder_that_may_not_be_listed_is_refused(locked, read):
    with pytest.raises(DataError, match="every folder must be readable, but .*well/more is not: Permission denied"):
        read(locked)


def test_masks_that_tune_predict_wrote_are_no_images_of_the_data_around_them(tmp_path):
    data = write_classes(tmp_path / "data", {"ill": 3, "well": 3})
    images = find_images(data)
    masks = write_classes(data, {"predictions": 2}) / "predictions"
    (masks / MASK_LISTING).write_text("[]")
    assert find_images(data) == images and len(find_images(masks)) == 2  # given by name, they are read
    assert unread_files(data) == {"masks that tune-predict wrote": 2} and not unread_files(masks)
    source = open_with_a_store(data)
    assert source.class_names == ("ill", "well") and len(source) == 6
    assert describe_unread(source.unread) == "2 files were not read: 2 masks that tune-predict wrote"


def test_a_folder_with_the_suffix_of_images_is_none_and_a_broken_link_is_a_bad_one(tmp_path):
    """Archives often hold each file in a folder of its name."""
    for name in "ab":
        write_classes(tmp_path / "data" / name, {f"{number}.png": 1 for number in range(2)})
    (tmp_path / "data" / "a" / "gone.png").symlink_to(tmp_path / "gone.png")
    source, _ = open_source(str(tmp_path / "data")).read_all()
    names = [f"{folder}/{number}.png/000.png" for folder in "ab" for number in range(2)]
    assert list(source.names) == [*names[:2], "a/gone.png", *names[2:]] and list(source.unreadable) == [2]
    assert [part.name.removeprefix(f"{tmp_path}/data/") for part in find_parts([str(tmp_path / "data")])] == names


def test_a_folder_with_the_suffix_of_images_is_neither_an_image_nor_a_mask_of_pairs(tmp_path):
    write_pairs(tmp_path, 2)
    for folder in ("images", "masks"):
        (tmp_path / folder / "folder.png").mkdir()
    assert list(open_source(str(tmp_path)).names) == ["images/000.png", "images/001.png"]
