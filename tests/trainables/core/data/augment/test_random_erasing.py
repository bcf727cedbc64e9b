import random

import numpy as np
import pytest
import torch
from timm.data.random_erasing import RandomErasing

from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.policies import PolicyOptions
from trainables.core.data.augment.random_erasing import erased_box, random_erasing

IMAGE = np.full((40, 60, 1), 100, np.uint8)


@pytest.mark.parametrize("seed", range(30))
def test_the_rectangle_is_timms(seed):
    reference = torch.ones(1, 40, 60)
    random.seed(seed)
    RandomErasing(probability=0.7, mode="const", device="cpu")(reference)
    ours = torch.ones(1, 40, 60)
    box = erased_box(40, 60, 0.7, random.Random(seed))
    if box is not None:
        top, left, height, width = box
        ours[:, top : top + height, left : left + width] = 0
    assert torch.equal(ours, reference)


def test_the_rectangle_is_noise_and_the_rest_is_unchanged():
    """The noise is uniform: mean 127.5, standard deviation 73.9, each within five standard errors."""
    inside = []
    for seed in range(200):
        erased = random_erasing(IMAGE, 1.0, seed)
        changed = np.argwhere(erased[:, :, 0] != 100)
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0) + 1
        box = erased[top:bottom, left:right]
        assert 0.5 * 0.02 * 2400 <= box.size <= 0.36 * 2400
        inside.append(box.ravel())
    values = np.concatenate(inside)
    error = 73.9 / np.sqrt(len(values))
    assert abs(values.mean() - 127.5) < 5 * error
    assert abs(values.std() - 73.9) < 5 * error
    assert (IMAGE == 100).all()


def test_the_probability_is_that_of_an_image():
    count = sum(random_erasing(IMAGE, 0.3, seed) is not IMAGE for seed in range(2000))
    assert abs(count / 2000 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)


def test_an_augmenter_erases_after_its_policy_by_seed_epoch_image_and_draw():
    augment = Augmenter("none", PolicyOptions(40), seed=0, erasing=1.0)
    assert not augment.is_identity
    image = IMAGE[:, :40]
    first = augment(image, 3, 1)
    np.testing.assert_array_equal(first, augment(image, 3, 1))
    for other in (augment(image, 4, 1), augment(image, 3, 2), augment(image, 3, 1, draw=1)):
        assert (other != first).any()
    assert Augmenter("none", PolicyOptions(40), seed=0).is_identity
    assert not Augmenter("flip", PolicyOptions(40), seed=0).is_identity
