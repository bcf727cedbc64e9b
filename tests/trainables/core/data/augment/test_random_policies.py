"""Operations against Pillow, and the draws of TrivialAugment and RandAugment."""

import random
from collections import Counter

import albumentations as A
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.policies import PolicyOptions
from trainables.core.data.augment.random_policies import PLAIN, SIGNED, rand_augment, trivial_augment

GENERATOR = np.random.default_rng(0)
# Smooth, so that interpolation hardly matters, and with levels from 40 to 200.
ROWS, COLUMNS = np.mgrid[:64, :64]
SMOOTH = (120 + 80 * np.sin(ROWS / 9) * np.cos(COLUMNS / 7)).astype(np.uint8)[:, :, None]


SMOOTH.setflags(write=False)  # as images mapped from a file are


def applied(transform, image):
    return A.Compose([transform], seed=0)(image=image)["image"]


def affine(coefficients):
    """Pillow's affine transform, with coefficients from output to input around the centre of the image."""
    a, b, c, d, e, f = coefficients
    middle = 31.5 + 0.5
    moved = (a, b, middle - a * middle - b * middle + c, d, e, middle - d * middle - e * middle + f)
    return Image.fromarray(SMOOTH[:, :, 0]).transform(
        (64, 64), Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR
    )


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.0, 0.4, 1.0])
def test_brightness_and_contrast_are_pillows(strength):
    image = Image.fromarray(SMOOTH[:, :, 0])
    for name, enhance in (("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast)):
        expected = np.asarray(enhance(image).enhance(1 + 0.5 * strength)).astype(int)
        ours = applied(SIGNED[name](strength, strength), SMOOTH)[:, :, 0].astype(int)
        assert np.abs(ours - expected).max() <= 1


def test_plain_operations_are_pillows_and_opencvs():
    np.testing.assert_array_equal(applied(PLAIN["identity"](), SMOOTH), SMOOTH)
    stretched = np.asarray(ImageOps.autocontrast(Image.fromarray(SMOOTH[:, :, 0]))).astype(int)
    assert np.abs(applied(PLAIN["autocontrast"](), SMOOTH)[:, :, 0].astype(int) - stretched).max() <= 1
    share = np.bincount(SMOOTH.ravel(), minlength=256).cumsum()
    least = share[SMOOTH.min()]
    levels = np.round(255 * (share - least) / (SMOOTH.size - least))  # the textbook's formula
    assert np.abs(applied(PLAIN["equalize"](), SMOOTH) - levels[SMOOTH]).max() <= 1


@pytest.mark.parametrize(
    ("name", "coefficients"),
    [
        ("rotate", (np.cos(t := np.pi / 6), np.sin(t), 0, -np.sin(t), np.cos(t), 0)),
        ("translate_x", (1, 0, 6, 0, 1, 0)),
        ("translate_y", (1, 0, 0, 0, 1, 6)),
        ("shear_x", (1, np.tan(np.radians(17)), 0, 0, 1, 0)),
        ("shear_y", (1, 0, 0, np.tan(np.radians(17)), 1, 0)),
    ],
)
def test_geometric_operations_are_pillows_up_to_the_sign(name, coefficients):
    """With the largest strength. A translation is cut to whole pixels."""
    inner = (slice(14, 50), slice(14, 50))  # edges are filled differently
    signs = [applied(SIGNED[name](s, s), SMOOTH)[:, :, 0].astype(int)[inner] for s in (-1.0, 1.0)]
    expected = np.asarray(affine(coefficients)).astype(int)[inner]
    assert min(np.abs(ours - expected).mean() for ours in signs) < 2
    assert np.abs(signs[0] - signs[1]).mean() > 5


def drawn(transforms, count):
    """Return the results of ``count`` draws, as bytes."""
    compose, found = A.Compose(transforms), Counter()
    generator, draws = np.random.default_rng(0), random.Random(0)
    compose.set_random_state(generator, draws)
    for _ in range(count):
        found[compose(image=SMOOTH)["image"].tobytes()] += 1
    return found


def test_rand_augment_draws_its_operations_and_signs_uniformly():
    """One operation: three plain ones in a tenth of the draws each, and seven with two signs in a twentieth each."""
    count, found = 2000, drawn(rand_augment(1, 30), 2000)
    expected = {applied(plain(), SMOOTH).tobytes(): 0.1 for plain in PLAIN.values()}
    expected |= {applied(signed(s, s), SMOOTH).tobytes(): 0.05 for signed in SIGNED.values() for s in (-1.0, 1.0)}
    assert len(expected) == 17 and found.keys() == expected.keys()
    for result, share in expected.items():
        assert abs(found[result] / count - share) < 4.5 * np.sqrt(share * (1 - share) / count)


def test_magnitude_zero_leaves_signed_operations_out():
    plain = {applied(operation(), SMOOTH).tobytes() for operation in PLAIN.values()}
    assert drawn(rand_augment(1, 0), 200).keys() == plain
    assert len(rand_augment(3, 9)) == 3


def test_trivial_augment_draws_one_operation_of_any_strength():
    """Also the identity in a tenth of the draws, and a translation by less than a pixel in a fifth / 6.4."""
    count, found = 2000, drawn([trivial_augment()], 2000)
    share = 0.1 + 0.2 / 6.4
    assert abs(found[SMOOTH.tobytes()] / count - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert len(found) > 500


def test_intensity_never_reverses_the_order_of_grey_levels():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    signed = [SIGNED[name](s, s) for name in ("brightness", "contrast") for s in (-1.0, 1.0)]
    for transform in (*signed, *(plain() for plain in PLAIN.values())):
        assert (np.diff(applied(transform, levels).ravel().astype(int)) >= 0).all()


def test_the_operations_of_an_image_are_drawn_independently():
    """Two operations are both the identity in 1 of 100 images; with equal seeds it would be 1 of 10."""
    augment, count = Augmenter("rand_augment", PolicyOptions(64, 2, 30), seed=0), 2000
    unchanged = {SMOOTH.tobytes(), np.ascontiguousarray(SMOOTH[:, ::-1]).tobytes()}
    share = sum(augment(SMOOTH, index, 1).tobytes() in unchanged for index in range(count)) / count
    assert abs(share - 0.01) < 4 * np.sqrt(0.01 / count)
