import numpy as np
import pytest

from tests.images import png, write_classes, write_pairs
from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.decoded_files import write_images, write_masks
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.readers.folders.image_mask_pairs import open_pairs
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.source import MaskFormat
from trainables.core.errors import ChangedFileError, DataError

GREY = PixelFormat(channels=1, white=255)


def test_an_image_that_changed_since_it_was_identified_is_not_decoded(tmp_path):
    root = write_classes(tmp_path / "scans", {"ill": 3, "well": 3})
    source, _ = open_source(str(root)).read_all()
    assert write_images(source, tmp_path / "images.npy", 8, GREY, None) == {}
    (changed, *_) = sorted((root / "well").iterdir())
    changed.write_bytes(png(np.zeros((32, 32), np.uint8)))
    with pytest.raises(ChangedFileError, match=f"{changed.name} changed while the data set was read"):
        write_images(source, tmp_path / "again.npy", 8, GREY, None)


def test_a_mask_that_changed_since_it_was_identified_is_not_decoded(tmp_path):
    root = write_pairs(tmp_path / "pairs", 4)
    source, _ = open_pairs(root).read_all()
    masks = MaskFormat.of_values([0, 255])
    write_masks(source, tmp_path / "masks.npy", 8, masks, ())
    (changed, *_) = sorted((root / "masks").iterdir())
    changed.write_bytes(png(np.full((32, 32), 255, np.uint8)))
    with pytest.raises(ChangedFileError, match="changed while the data set was read"):
        write_masks(source, tmp_path / "again.npy", 8, masks, ())


def test_a_data_set_is_described_before_any_image_is_read(tmp_path):
    root = write_classes(tmp_path / "scans", {"ill": 3, "well": 2})
    described = []

    def describe(source):
        described.append(source.describe())
        for file in root.rglob("*.png"):
            file.write_bytes(b"torn")  # nothing has been read yet

    with pytest.raises(DataError, match="5 of 5 images cannot be used|no usable image"):
        inspect(str(root), store=tmp_path / "store", on_open=describe)
    assert described == ["5 images: 3 ill, 2 well"]


def test_many_classes_are_described_in_one_line(tmp_path):
    root = write_classes(tmp_path / "scans", {f"c{number:02}": 1 for number in range(12)})
    assert open_source(str(root)).describe().endswith("1 c08, 1 c09 and 2 more classes")
