"""Recognition of images that are unlike those a model was trained on."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainables.core.data.decode.images import SIDE
from trainables.core.data.image_kind import ImageKind, kind_of

NORMAL = (300, 400)


def slices(count, seed=0):
    """Return (count, SIDE, SIDE, 1) bright ellipses of varied size and texture on black."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    images = []
    for _ in range(count):
        height, width = generator.uniform(20, 28, 2)
        inside = (rows / height) ** 2 + (columns / width) ** 2 < 1
        texture = np.kron(generator.normal(120, 25, (16, 16)), np.ones((4, 4)))
        images.append(np.clip(np.where(inside, texture, generator.normal(8, 3, (SIDE, SIDE))), 0, 255))
    return np.array(images).astype(np.uint8)[..., None]


def kind(images, side=NORMAL):
    count = len(images)
    return kind_of(images, np.arange(count), np.arange(count), np.tile(side, (count, 1)))


@pytest.fixture(scope="module")
def trained():
    return kind(slices(200))


def warnings(trained, images, size=NORMAL):
    return trained.warnings(images, [size] * len(images))


def test_images_of_the_same_kind_have_no_warning(trained):
    assert np.mean([bool(text) for text in warnings(trained, slices(200, seed=1))]) <= 0.01


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda images: 255 - images, "looks inverted: its negative is like the training images"),
        (lambda images: images // 8, "darker; lower in contrast"),
        (lambda images: np.minimum(images, 125), "darker in its brightest parts"),
        (lambda images: np.full_like(images, 7), "nearly blank"),
        (lambda images: np.minimum(images.astype(int) + 90, 255).astype(np.uint8), "brighter"),
    ],
)
def test_images_of_another_kind_are_named(trained, change, reason):
    assert all(text.startswith(reason) for text in warnings(trained, change(slices(20, seed=1))))


def test_another_structure_is_named(trained):
    shifted = np.roll(slices(20, seed=1), SIDE // 2, axis=(1, 2))
    assert warnings(trained, shifted) == ["shows something else"] * 20


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((600, 800), ""),
        ((90, 120), "120 x 90 pixels instead of 300 to 400 a side"),
        ((400, 900), "900 x 400 pixels instead of 300 to 400 a side"),
        ((300, 790), "790 x 300 pixels, more elongated"),
    ],
)
def test_sizes_far_from_those_of_the_training_images_are_named(trained, size, reason):
    image = slices(200)[:1]
    assert warnings(trained, image, size) == [reason]


def test_grey_images_are_unlike_coloured_ones():
    generator = np.random.default_rng(0)
    stain = np.array([0.9, 0.5, 0.8])
    tissue = (generator.uniform(100, 250, (60, SIDE, SIDE, 1)) * stain).astype(np.uint8)
    grey = tissue.mean(axis=3, keepdims=True).repeat(3, axis=3).astype(np.uint8)
    assert all("less colourful" in text for text in warnings(kind(tissue[:40]), grey[40:]))
    assert warnings(kind(tissue[:40]), tissue[40:]) == [""] * 20


def lit_from_above(count, seed):
    shade = np.linspace(1.2, 0.7, SIDE)[:, None, None]
    return np.clip(slices(count, seed) * shade, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("turn", [lambda images: images[:, ::-1], lambda images: images[:, ::-1, ::-1]])
def test_images_that_are_upside_down_are_named(turn):
    above = kind(lit_from_above(200, 0))
    assert warnings(above, turn(lit_from_above(20, 1))) == ["looks upside down"] * 20
    assert not any(warnings(above, lit_from_above(20, 1)))


def test_images_without_a_side_up_are_never_upside_down(trained):
    assert "upside" not in " ".join(warnings(trained, slices(200, seed=1)[:, ::-1]))


def test_a_kind_that_an_earlier_version_stored_is_read():
    stored = kind(lit_from_above(200, 0)).to_dict()
    del stored["upright"], stored["highlights"]
    old = ImageKind.from_dict(json.loads(json.dumps(stored)))
    others = np.minimum(lit_from_above(20, 1), 125)
    assert not any("upside" in text or "brightest" in text for text in warnings(old, others[:, ::-1]))


@pytest.mark.parametrize("images", [slices, lit_from_above])
def test_json_keeps_the_kind(images):
    stored = kind(images(200, 0))
    assert ImageKind.from_dict(json.loads(json.dumps(stored.to_dict()))) == stored


def test_a_single_image_has_a_kind():
    assert warnings(kind(slices(1)), slices(1)) == [""]


def shrunk(files, mode="L"):
    opened = (Image.open(file).convert(mode).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for file in files)
    return np.stack([np.asarray(image).reshape(SIDE, SIDE, -1) for image in opened])


def test_real_images(real_data):
    """Takes several seconds to decode 1,400 images.

    On half of the images, at most 2% of the other half have a warning, at least 95% of their negatives, and all brain
    slices given to a model of chest X-rays.
    """
    table = pq.read_table(real_data / "alzheimer_mri" / "data" / "train-00000-of-00001.parquet")["image"].to_pylist()
    brains = shrunk([io.BytesIO(cell["bytes"]) for cell in table[::10]])
    chests = shrunk(sorted((real_data / "chest_xray" / "test").rglob("*.jpeg")))
    tissue = shrunk(sorted((real_data / "tissue").rglob("*.jp*g"))[::2], "RGB")
    for images in (brains, chests, tissue):
        trained = kind(images[::2])
        others = images[1::2]
        for changed, least, most in ((others, 0, 0.02), (255 - others, 0.95, 1), (images // 3, 0.95, 1)):
            assert least <= np.mean([bool(text) for text in warnings(trained, changed)]) <= most
    turned = warnings(kind(chests[::2]), chests[1::2, ::-1, ::-1])
    assert np.mean(["looks upside down" in text for text in turned]) > 0.95
    assert all(warnings(kind(chests), brains))
