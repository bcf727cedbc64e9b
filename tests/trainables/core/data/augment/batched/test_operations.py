"""Each operation against albumentations with the same parameters, and the distribution of the parameters."""

import random
from itertools import permutations

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from scipy import stats

from trainables.core.data.augment.batched.counter_random import image_keys, normal
from trainables.core.data.augment.batched.draws import drawn, drawn_erasing
from trainables.core.data.augment.batched.operation import Pixels
from trainables.core.data.augment.random_erasing import erased_box

SIDE, COUNT = 40, 1500
KEYS = image_keys(0, 1, torch.arange(COUNT), torch.zeros(COUNT, dtype=torch.int64))
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
GREY = (120 + 90 * np.sin(ROWS / 7 + 1) * np.cos(COLUMNS / 5)).astype(np.uint8)[:, :, None]
COLOUR = np.stack([np.roll(GREY[:, :, 0], 9 * k, axis=k % 2) // (k + 1) + 20 * k for k in range(3)], axis=2)
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
MASK = ((ROWS > 12) + 2 * (COLUMNS > 25)).astype(np.uint8)
IMAGES = pytest.mark.parametrize("image", [GREY, COLOUR, NOISE], ids=["grey", "colour", "noise"])


def ours(transform, image, count=8):
    """Return (count, ...) images and masks that a transform with our draws makes of one image."""
    change = drawn(transform, SIDE)
    batch = Pixels(torch.from_numpy(image).repeat(count, 1, 1, 1), torch.from_numpy(MASK).repeat(count, 1, 1))
    changed = change.operation(batch, change.draw(KEYS[:count]).float(), KEYS[:count])
    assert torch.equal(batch.images[0], torch.from_numpy(image)) and changed.images.is_contiguous()
    return changed.images.numpy(), changed.masks.numpy()


def theirs(transform, image):
    """Return the image and the mask that albumentations makes by a transform without randomness."""
    changed = transform(image=image, mask=MASK)
    return changed["image"], changed["mask"]


def assert_close(images, expected, share=0.001, most=1):
    """Allow a difference of one grey level in a share of the values, where rounding decides."""
    difference = np.abs(images.astype(int) - expected.astype(int))
    assert difference.max() <= most
    assert (difference > 0).mean() <= share


def fixed(**settings):
    return A.Affine(p=1, **settings)


EXACT = [A.HorizontalFlip(p=1), A.VerticalFlip(p=1), A.AutoContrast(method="pil", p=1), A.Equalize(mode="cv", p=1)]


@IMAGES
@pytest.mark.parametrize("transform", EXACT, ids=lambda transform: type(transform).__name__)
def test_transforms_without_parameters_are_equal(transform, image):
    images, masks = ours(transform, image)
    expected, mask = theirs(transform, image)
    np.testing.assert_array_equal(images, np.broadcast_to(expected, images.shape))
    np.testing.assert_array_equal(masks, np.broadcast_to(mask, masks.shape))


LEVELS = [np.full(4, 255), np.array([0, 0, 255, 255]), np.array([7, 7, 200, 255]), np.full(4, 9), np.arange(50, 54)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("transform", EXACT[2:], ids=lambda transform: type(transform).__name__)
def test_histograms_with_few_levels_are_equal(transform, levels):
    image = np.tile(levels.astype(np.uint8), (SIDE, SIDE // 4))[:, :, None]
    np.testing.assert_array_equal(ours(transform, image)[0][0], theirs(transform, image)[0])


@IMAGES
def test_quarter_turns_are_counterclockwise_and_each_comes_equally_often(image):
    change = drawn(A.RandomRotate90(p=1), SIDE)
    quarters = change.draw(KEYS)[:, 0].long().numpy()
    assert stats.chisquare(np.bincount(quarters, minlength=4)).pvalue > 0.001
    images, masks = ours(A.RandomRotate90(p=1), image, 30)
    for turned, mask, factor in zip(images, masks, quarters[:30], strict=True):
        np.testing.assert_array_equal(turned, A.RandomRotate90().apply(image, factor=int(factor)))
        np.testing.assert_array_equal(mask, np.rot90(MASK, factor))


AFFINE = [
    {"rotate": (23.0, 23.0)},
    {"rotate": (-151.0, -151.0), "border_mode": cv2.BORDER_REFLECT_101},
    {"shear": {"x": (17.0, 17.0), "y": (0.0, 0.0)}},
    {"shear": {"x": (0.0, 0.0), "y": (-9.0, -9.0)}},
    {"translate_percent": {"x": (0.09, 0.09), "y": (-0.07, -0.07)}},
    {"rotate": (8.0, 8.0), "shear": {"x": (5.0, 5.0), "y": (3.0, 3.0)}, "translate_percent": (-0.1, -0.1)},
]


@IMAGES
@pytest.mark.parametrize("settings", AFFINE, ids=lambda settings: "-".join(settings))
def test_affine_maps_are_equal(settings, image):
    images, masks = ours(fixed(**settings), image)
    expected, mask = theirs(fixed(**settings), image)
    assert (expected != image).any()
    assert_close(images[0], expected, share=0.002)
    assert (masks[0] != mask).mean() <= 0.002  # a position half-way between two pixels
    np.testing.assert_array_equal(images[0], images[-1])


@IMAGES
@pytest.mark.parametrize("gamma", [80, 100, 120])
def test_gamma_is_equal(gamma, image):
    expected = theirs(A.RandomGamma((gamma, gamma), p=1), image)[0]
    assert_close(ours(A.RandomGamma((gamma, gamma), p=1), image)[0][0], expected, share=1 if gamma == 100 else 0.001)


@IMAGES
@pytest.mark.parametrize("factors", [(1.4, 1, 1), (0.55, 1, 1), (1, 1.5, 1), (1, 0.5, 1), (1, 1, 1.2), (1.2, 0.8, 0.9)])
def test_colour_jitter_is_equal_in_one_of_the_orders(factors, image):
    settings = dict(
        zip(("brightness", "contrast", "saturation"), ((factor, factor) for factor in factors), strict=True)
    )
    transform = A.ColorJitter(**settings, hue=(0.0, 0.0), p=1)
    one_order = dict(zip(("brightness", "contrast", "saturation"), factors, strict=True))
    expected = [transform.apply(image, **one_order, hue=0.0, order=[*order, 3]) for order in permutations(range(3))]
    seen = set()
    for changed in ours(transform, image, 40)[0]:
        differences = [np.abs(changed.astype(int) - other.astype(int)).mean() for other in expected]
        closest = int(np.argmin(differences))
        assert_close(changed, expected[closest], share=0.06, most=2)  # after up to three roundings
        seen.add(closest)
    if factors == (1.2, 0.8, 0.9) and image is not GREY:
        assert len(seen) == 6


def test_every_order_of_colour_jitter_comes_equally_often_whatever_the_factors():
    parameters = drawn(A.ColorJitter(p=1), SIDE).draw(KEYS).view(COUNT, 3, 4)
    kinds = (parameters[:, :, 2] != 0) * 1 + (parameters[:, :, 3] != 0) * 2  # contrast 1, saturation 2
    orders, counts = kinds.unique(dim=0, return_counts=True)
    assert len(orders) == 6 and stats.chisquare(counts.numpy()).pvalue > 0.001
    places = (kinds == 1).int().argmax(1)
    factors = parameters[torch.arange(COUNT), places, 0]
    assert abs(np.corrcoef(places.numpy(), factors.numpy())[0, 1]) < 4 / COUNT**0.5


@IMAGES
def test_crops_are_equal(image):
    transform = A.RandomResizedCrop((32, 32), scale=(0.3, 1.0), p=1)
    images, masks = ours(transform, image, 30)
    boxes = drawn(transform, SIDE).draw(KEYS[:30]).long().tolist()
    for cropped, mask, (left, top, width, height) in zip(images, masks, boxes, strict=True):
        box = (left, top, left + width, top + height)
        expected = transform.apply(image, crop_coords=box).astype(int)
        assert np.abs(cropped - expected).max() <= 1  # OpenCV interpolates with weights of 11 bits
        assert abs((cropped - expected).mean()) < 0.2
        np.testing.assert_array_equal(mask, transform.apply_to_mask(MASK, crop_coords=box))


class Given:
    """A random generator with given normal numbers."""

    def __init__(self, numbers):
        self._numbers = numbers

    def standard_normal(self, shape, dtype):
        return self._numbers.reshape(shape).astype(dtype)


@IMAGES
@pytest.mark.parametrize("settings", [{}, {"alpha": 40, "sigma": 3}], ids=["default", "strong"])
def test_elastic_deformation_is_equal(settings, image):
    transform = A.ElasticTransform(**settings, p=1)
    images, masks = ours(transform, image, 4)
    noise = normal(KEYS[:4], 2 * SIDE * SIDE).numpy()
    for changed, mask, numbers in zip(images, masks, noise, strict=True):
        transform.random_generator = Given(numbers)
        maps = transform.get_params_dependent_on_data({"shape": image.shape}, {})
        assert_close(changed, transform.apply(image, **maps), share=0.002)
        assert (mask != transform.apply_to_mask(MASK, **maps)).mean() <= 0.002


def test_noise_is_distributed_as_theirs():
    """1500 images against 1500. The fraction of the noise is cut off, so 0 is the likeliest."""
    image = np.full((SIDE, SIDE, 1), 100, np.uint8)
    transform = A.GaussNoise(std_range=(0.03, 0.03), p=1)
    mine = ours(transform, image, COUNT)[0]
    theirs = np.stack([transform(image=image)["image"] for _ in range(COUNT)])
    counts = np.stack([np.bincount(values.ravel(), minlength=256) for values in (mine, theirs)])
    assert stats.chi2_contingency(counts[:, counts.sum(0) > 20]).pvalue > 0.001
    assert counts[0].argmax() == 100 and counts[0][100] > 1.5 * counts[0][101]


def same_distribution(ours, theirs):
    return stats.ks_2samp(ours, theirs).pvalue > 0.001


def test_the_parameters_of_crops_are_distributed_as_theirs():
    transform = A.RandomResizedCrop((32, 32), scale=(0.3, 1.0), p=1)
    left, top, width, height = drawn(transform, 224).draw(KEYS).numpy().T
    boxes = [transform.get_params_dependent_on_data({"shape": (224, 224)}, {})["crop_coords"] for _ in range(COUNT)]
    x_min, y_min, x_max, y_max = np.array(boxes).T
    for mine, other in ((left, x_min), (top, y_min), (width, x_max - x_min), (height, y_max - y_min)):
        assert same_distribution(mine, other)
    assert same_distribution(width * height, (x_max - x_min) * (y_max - y_min))
    assert same_distribution(width / height, (x_max - x_min) / (y_max - y_min))


def test_the_parameters_of_affine_maps_are_distributed_as_theirs():
    shear = {"x": (-10.0, 17.0), "y": (-5.0, 2.0)}
    transform = A.Affine(rotate=(-20, 35), shear=shear, translate_percent={"x": (-0.1, 0.1), "y": (0.0, 0.2)}, p=1)
    matrices = drawn(transform, SIDE).draw(KEYS).view(COUNT, 2, 3).numpy()
    centre = (SIDE - 1) / 2
    to_pixels = np.array([[centre, 0, centre], [0, centre, centre], [0, 0, 1]])
    whole = np.concatenate([matrices, np.tile([[[0.0, 0.0, 1.0]]], (COUNT, 1, 1))], axis=1)
    ours = np.linalg.inv(to_pixels @ whole @ np.linalg.inv(to_pixels))
    shape = {"shape": (SIDE, SIDE)}
    theirs = np.stack([transform.get_params_dependent_on_data(shape, {})["matrix"] for _ in range(COUNT)])
    for row in range(2):
        for column in range(3):
            assert same_distribution(ours[:, row, column], theirs[:, row, column])


def test_the_parameters_of_single_values_are_distributed_as_theirs():
    gamma = A.RandomGamma(p=1)
    theirs = [gamma.get_params_dependent_on_data({}, {})["gamma"] for _ in range(COUNT)]
    assert same_distribution(drawn(gamma, SIDE).draw(KEYS)[:, 0].numpy(), theirs)
    deviations = drawn(A.GaussNoise((0.01, 0.05), p=1), SIDE).draw(KEYS)[:, 0].numpy()
    assert stats.kstest(deviations / 255, stats.uniform(0.01, 0.04).cdf).pvalue > 0.001
    jitter = A.ColorJitter(brightness=(0.5, 1.4), contrast=(1, 1), saturation=(1, 1), hue=(0, 0), p=1)
    factors = drawn(jitter, SIDE).draw(KEYS).view(COUNT, 3, 4)[:, :, 0].prod(1).numpy()
    assert same_distribution(factors, [jitter.get_params()["brightness"] for _ in range(COUNT)])


def test_erased_rectangles_are_distributed_as_those_of_single_images():
    left, top, width, height = drawn_erasing(SIDE).draw(KEYS).numpy().T
    boxes = [erased_box(SIDE, SIDE, 1.0, random.Random(seed)) for seed in range(COUNT)]
    single = np.array([(0, 0, 0, 0) if box is None else box for box in boxes]).T
    for mine, other in zip((top, left, height, width), single, strict=True):
        assert same_distribution(mine, other)
    assert same_distribution(width * height, single[2] * single[3])
    assert (left + width).max() == SIDE == (top + height).max() and left.min() == 0 == top.min()


def test_erasing_fills_exactly_the_rectangle_with_noise():
    erase = drawn_erasing(SIDE)
    boxes = erase.draw(KEYS[:200])
    image = torch.full((200, SIDE, SIDE, 3), 100, dtype=torch.uint8)
    erased = erase.operation(Pixels(image), boxes.float(), KEYS[:200]).images
    inside = []
    for changed, (left, top, width, height) in zip(erased, boxes.long().tolist(), strict=True):
        box = changed[top : top + height, left : left + width]
        inside.append(box.flatten().clone())
        box.fill_(100)
        assert (changed == 100).all()
    values = torch.cat(inside).numpy()
    assert stats.chisquare(np.bincount(values, minlength=256)).pvalue > 0.001


NEUTRAL = [
    *EXACT, A.RandomRotate90(p=1), A.Affine(p=1), A.Affine(border_mode=cv2.BORDER_REFLECT_101, p=1),
    A.ElasticTransform(p=1), A.RandomGamma(p=1), A.ColorJitter(p=1), A.GaussNoise(p=1),
    A.RandomResizedCrop((SIDE, SIDE), p=1),
]  # fmt: skip


@IMAGES
@pytest.mark.parametrize("transform", NEUTRAL, ids=lambda transform: type(transform).__name__)
def test_neutral_parameters_change_nothing(transform, image):
    operation = drawn(transform, SIDE).operation
    batch = Pixels(torch.from_numpy(image)[None], torch.from_numpy(MASK)[None])
    changed = operation(batch, torch.tensor([operation.neutral]), KEYS[:1])
    assert torch.equal(changed.images, batch.images) and torch.equal(changed.masks, batch.masks)


def test_a_transform_without_an_equal_is_refused():
    with pytest.raises(NotImplementedError, match="Solarize has no equal for batches"):
        drawn(A.Solarize(), SIDE)
