"""Blank, inverted and shallow images of a data set."""

import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from trainables.core.data.audited_dataset import inspect
from trainables.core.data.decode.high_bit_depth import usual_range
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import DataError

SIDE, COUNT = 32, 30


def write(root, change=lambda image, index: image):
    """Write two classes of bright discs on black; ``change`` gets each image in 0..1 and its number."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    generator = np.random.default_rng(0)
    for name in ("ill", "well"):
        (root / name).mkdir(parents=True)
        for index in range(COUNT):
            disc = rows**2 + columns**2 < generator.uniform(8, 12) ** 2
            image = np.clip(0.5 * disc + generator.uniform(0.02, 0.1, disc.shape), 0, 1)
            Image.fromarray(change(image, index)).save(root / name / f"{index:02}.png")
    return str(root)


def in_8_bits(image):
    return (255 * image).astype(np.uint8)


def notes(place, tmp_path):
    # Discs are so alike that a chosen threshold would add a note.
    return inspect(place, grouping=Grouping(threshold=0.99), store=tmp_path / "store").notes


def test_an_ordinary_data_set_has_no_notes(tmp_path):
    assert notes(write(tmp_path / "data", lambda image, _: in_8_bits(image)), tmp_path) == ()


@pytest.mark.parametrize("every", [15, 3])
def test_inverted_images_are_named(tmp_path, every):
    place = write(tmp_path / "data", lambda image, index: in_8_bits(1 - image if index % every == 0 else image))
    (note,) = notes(place, tmp_path)
    assert note.startswith(f"{2 * COUNT // every} images look inverted, like MONOCHROME1 exported as it is, ")
    assert "ill/00.png, ill/" in note
    assert note.endswith(": store the negative")
    assert note in prepare(place, sizes=[8], seed=0, store=tmp_path / "store").notes


def shallow(image, index):
    """Return 16-bit images, of which every tenth uses only 12 bits."""
    return ((4095 if index % 10 == 0 else 65535) * image).astype(np.uint16)


def test_12_bit_images_among_16_bit_images_are_named(tmp_path):
    (note,) = notes(write(tmp_path / "data", shallow), tmp_path)
    assert note.startswith("6 images use at most an eighth of the data set's range, 0 to 65535, like 12-bit data")
    assert "ill/00.png up to 2" in note
    assert note.endswith("and 1 more): scale all images to the same range")


def test_images_that_come_out_nearly_black_are_not_trained_on(tmp_path):
    def dark(image, index):
        return ((255 if index == 0 else 65535) * image).astype(np.uint16)

    with pytest.raises(DataError, match=r"ill/00.png: is nearly black: its values reach 1\d\d, .* data set 65535"):
        prepare(write(tmp_path / "data", dark), sizes=[8], seed=0, store=tmp_path / "store")


def test_blank_images_are_refused_or_left_out(tmp_path):
    place = write(tmp_path / "data", lambda image, index: in_8_bits(image if index else 0 * image + 0.5))
    message = r"readable, labelled and not blank, but 2 are not \(ill/00.png: is blank: .*--skip-bad-images"
    with pytest.raises(DataError, match=message):
        prepare(place, sizes=[8], seed=0, store=tmp_path / "store")
    data = prepare(place, sizes=[8], seed=0, store=tmp_path / "store", skip_bad_images=True)
    used = np.concatenate(list(data.splits.values()))
    assert sorted(used) == [index for index in range(2 * COUNT) if index % COUNT]
    assert "2 unusable images were left out" in data.notes
    assert not data.kind.sees_blank


def test_a_data_set_of_blank_images_is_refused(tmp_path):
    place = write(tmp_path / "data", lambda image, index: in_8_bits(0 * image))
    with pytest.raises(DataError, match="has no usable image; the first one, ill/00.png: is blank"):
        prepare(place, sizes=[8], seed=0, store=tmp_path / "store", skip_bad_images=True)


def marked(image, index):
    """Return 12-bit images with a mark at the end of 16 bits, as burnt in by a viewer."""
    deep = (4000 * image).astype(np.uint16)
    deep[:4, :4] = 65535
    return deep


def test_marks_that_leave_few_grey_levels_are_named(tmp_path):
    found = notes(write(tmp_path / "data", marked), tmp_path)
    (note,) = [note for note in found if note.startswith("few grey levels are left")]
    assert re.search(r"lie between \d+ and 2\d\d\d, but padding or marks stretch the range to 0 to 65535: set", note)


def test_padding_that_leaves_few_grey_levels_is_named(tmp_path):
    write(tmp_path / "data", lambda image, _: in_8_bits(image))
    for file in list((tmp_path / "data").rglob("*.png")):
        hounsfield = np.asarray(Image.open(file)).astype(np.int16) * 8 - 1000
        hounsfield[:3] = -32768
        tifffile.imwrite(file.with_suffix(".tif"), hounsfield)
        file.unlink()
    found = notes(str(tmp_path / "data"), tmp_path)
    assert any(re.search(r"lie between -9\d\d and \d+, but padding .* the range to -32768 to ", note) for note in found)


def test_a_range_without_padding_and_marks_is_usual():
    generator = np.random.default_rng(0)
    values = generator.integers(-1000, 3000, (20, 20))
    assert usual_range(values) == (values.min(), values.max())
    padded = np.where(generator.random((20, 20)) < 0.2, -32768, values)
    assert usual_range(padded) == (padded[padded > -32768].min(), padded.max())
    for few in ([[5, 5]], [[0, 65535]], [[0, 7, 65535]]):
        assert usual_range(np.array(few)) == (np.min(few), np.max(few))
