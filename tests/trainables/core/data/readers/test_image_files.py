import os
import tempfile
from pathlib import Path

import pytest

from tests.images import write_classes
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
