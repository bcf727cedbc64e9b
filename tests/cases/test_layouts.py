"""Folders as people have them, through ``prepare``: read as meant, or refused with the layout that was found."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.cases.made import mask, picture, save
from trainables.core.data.prepare import prepare
from trainables.core.errors import DataError

COUNT = 12


def prepared(tmp_path):
    return prepare(str(tmp_path / "data"), sizes=[16], seed=0, store=tmp_path / "store")


def write(root, *folders, suffix=".png", **options):
    """Write COUNT pictures into each folder; folders with the same last name have the same kind."""
    kinds = sorted({folder.rsplit("/", 1)[-1] for folder in folders})
    for place, folder in enumerate(folders):
        for index in range(COUNT):
            kind = kinds.index(folder.rsplit("/", 1)[-1])
            save(picture(kind, 100 * place + index), root / folder / f"{index:02}{suffix}", **options)


@pytest.mark.parametrize(
    ("folders", "test"),
    [
        (("ill", "well"), None),
        (("Training/ill", "Training/well", "Testing/ill", "Testing/well"), 2 * COUNT),
        (("train/ill", "train/well", "test/ill", "test/well"), 2 * COUNT),
        (("ill/patient 1", "ill/patient 2", "well/patient 3", "well/patient 4"), None),
    ],
)
def test_classes_and_published_splits(tmp_path, folders, test):
    write(tmp_path / "data", *folders)
    data = prepared(tmp_path)
    assert data.class_names == ("ill", "well")
    assert len(data.labels) == len(folders) * COUNT
    assert test is None or len(data.splits["test"]) == test


@pytest.mark.parametrize(("suffix", "kind"), [(".jfif", "JPEG"), (".JPE", "JPEG"), (".jp2", "JPEG2000")])
def test_a_class_in_a_rare_format(tmp_path, suffix, kind):
    write(tmp_path / "data", "ill")
    write(tmp_path / "data", "well", suffix=suffix, format=kind)
    assert np.bincount(prepared(tmp_path).labels).tolist() == [COUNT, COUNT]


def test_leavings_of_other_systems(tmp_path):
    root = tmp_path / "data"
    write(root, "ill", "well", suffix=".JPG", format="JPEG")
    leavings = ("ill/@eaDir", "well/@eaDir", "__MACOSX/ill", "$RECYCLE.BIN/ill", "ill/#recycle", "lost+found")
    write(root, *leavings, suffix=".JPG", format="JPEG")
    (root / "ill" / "Thumbs.db").write_bytes(b"x")
    (root / "ill" / ".DS_Store").write_bytes(b"x")
    data = prepared(tmp_path)
    assert (data.class_names, len(data.labels)) == (("ill", "well"), 2 * COUNT)
    assert "1 file was not read: 1 .db" in data.notes


def test_120_small_classes_are_one_note(tmp_path):
    for kind in range(120):
        for index in range(2 + kind % 3):
            save(picture(kind % 7, 1000 * kind + index), tmp_path / "data" / f"species_{kind:03}" / f"{index}.png")
    notes = prepared(tmp_path).notes
    assert len([note for note in notes if "too few" in note]) == 1
    assert len(notes) <= 3


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (("COVID/images", "COVID/masks", "Normal/images", "Normal/masks"), "has a subfolder masks"),
        (("train/NORMAL", "train/ill", "test/Normal", "test/ill"), "has 'NORMAL' and 'Normal'"),
        (
            (f"train/{unicodedata.normalize('NFC', 'Läsion')}", f"test/{unicodedata.normalize('NFD', 'Läsion')}"),
            "the encoding of accents",
        ),
        (("set/train/ill", "set/train/well", "set/test/ill", "set/test/well"), "data/set as the data set"),
        (("raw/ill", "raw/well", "augmented/ill", "augmented/well"), "look like several data sets"),
        (("train_images", "test_images"), "not after classes"),
        (("train/images", "train/masks", "test/images", "test/masks"), "looks like images with masks"),
        (("imagesTr", "labelsTr"), "looks like images with masks"),
        (("ill", "ill\u200b", "well"), "has 'ill' and 'ill.u200b'"),
        (("1", "01", "2"), "zeros or the encoding of accents, but .* has '01' and '1'"),
        (("ill", "well", "well (1)"), r"well \(1\) in .* looks like a copy of the class well"),
        (("ill", "ill - Copy", "well"), "ill - Copy in .* looks like a copy of the class ill"),
        (("ill", "ill_mask", "well"), "has a folder ill_mask among its classes"),
        (("ill/ground truth", "ill/scans", "well"), "has a subfolder ground truth: move the masks out"),
    ],
)
def test_other_layouts_are_refused(tmp_path, folders, reason):
    write(tmp_path / "data", *folders)
    with pytest.raises(DataError, match=reason):
        prepared(tmp_path)


def test_masks_beside_images_are_refused(tmp_path):
    for name in ("benign", "malignant"):
        for index in range(COUNT):
            save(picture(0, index), tmp_path / "data" / name / f"{name} ({index}).png")
            save(255 * mask(index), tmp_path / "data" / name / f"{name} ({index})_mask.png")
    with pytest.raises(DataError, match=r"has both 'benign \(0\)' and its mask 'benign \(0\)_mask'"):
        prepared(tmp_path)


def alpha(pixels):
    return np.dstack([255 * pixels, np.full_like(pixels, 255)])


def palette(pixels):
    image = Image.fromarray(pixels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, *[224] * 762])
    return image


def pascal_voc(pixels):
    """Return a palette mask whose outline, where nobody knows, is 255."""
    edge = np.zeros_like(pixels)
    edge[:-1] |= pixels[:-1] != pixels[1:]
    return palette(np.where(edge, 255, pixels).astype(np.uint8))


@pytest.mark.parametrize("encode", [lambda pixels: 255 * pixels, alpha, palette])
def test_masks_of_a_segmentation(tmp_path, encode):
    for index in range(2 * COUNT):
        save(picture(0, index), tmp_path / "data" / "images" / f"{index:02}.png")
        save(encode(mask(index)), tmp_path / "data" / "masks" / f"{index:02}.png")
    data = prepared(tmp_path)
    assert data.class_names == ("foreground",)
    assert len(np.concatenate(list(data.splits.values()))) == 2 * COUNT


def test_masks_with_pixels_that_nobody_labelled_are_refused(tmp_path):
    for index in range(2 * COUNT):
        save(picture(0, index), tmp_path / "data" / "images" / f"{index:02}.png")
        save(pascal_voc(mask(index)), tmp_path / "data" / "masks" / f"{index:02}.png")
    with pytest.raises(DataError, match="255, which usually marks pixels without a label, as in Pascal VOC: set them"):
        prepared(tmp_path)
