import os
import subprocess
import sys

import numpy as np
import pytest

from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.policies import POLICIES, PolicyOptions, source_size
from trainables.core.data.batches import Shown, augmented_batches

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 37, 37, 1), dtype=np.uint8)
LABELS = np.arange(12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_returns_the_input_size_of_the_network(policy, channels):
    side = source_size(policy, 32)
    image = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    for epoch in range(1, 20):
        augmented = Augmenter(policy, PolicyOptions(32), seed=0)(image, index=3, epoch=epoch)
        assert augmented.shape == (32, 32, channels)
        assert augmented.dtype == np.uint8


def test_strong_reads_256_pixels_for_224():
    assert source_size("strong", 224) == 256
    assert source_size("medical", 224) == 224


def test_none_changes_nothing():
    np.testing.assert_array_equal(Augmenter("none", PolicyOptions(37), seed=0)(IMAGES[0], 0, 1), IMAGES[0])


def test_flip_returns_the_image_or_its_mirror_image():
    results = {Augmenter("flip", PolicyOptions(37), seed=0)(IMAGES[0], 0, epoch).tobytes() for epoch in range(1, 30)}
    assert results == {IMAGES[0].tobytes(), np.ascontiguousarray(IMAGES[0][:, ::-1]).tobytes()}


def test_the_transforms_of_a_policy_are_drawn_independently():
    """With one seed for each transform, all but the flip happened only to flipped images: 52% were untouched."""
    augment, count = Augmenter("medical", PolicyOptions(37), seed=0), 2000
    untouched = sum(bool((augment(IMAGES[0], index, 1) == IMAGES[0]).all()) for index in range(count))
    expected = 0.5 * (1 - 0.3 * 3 / 4) * 0.8 * 0.8  # a quarter of the quarter turns turn by nothing
    assert abs(untouched / count - expected) < 4 * (expected * (1 - expected) / count) ** 0.5


def test_flips_and_rotation_fill_the_corners_by_reflection():
    for epoch in range(1, 20):
        rotated = Augmenter("flips_and_rotation", PolicyOptions(37), seed=0)(np.maximum(IMAGES[0], 100), 0, epoch)
        assert rotated.min() >= 100


def outcomes(augmenter, epoch, threads=1):
    return np.concatenate(
        [
            pixels.numpy()
            for pixels, _ in augmented_batches(IMAGES, LABELS, Shown.of(np.arange(12)), 5, augmenter, epoch, threads)
        ]
    )


def test_the_result_depends_on_seed_epoch_and_image_but_not_on_threads():
    first = outcomes(Augmenter("medical", PolicyOptions(37), seed=0), epoch=1)
    np.testing.assert_array_equal(first, outcomes(Augmenter("medical", PolicyOptions(37), seed=0), epoch=1, threads=4))
    single = Augmenter("medical", PolicyOptions(37), seed=0)(IMAGES[7], 7, 1)
    np.testing.assert_array_equal(first[7], single)
    assert (first != outcomes(Augmenter("medical", PolicyOptions(37), seed=0), epoch=2)).any()
    assert (first != outcomes(Augmenter("medical", PolicyOptions(37), seed=1), epoch=1)).any()


def test_an_image_drawn_twice_looks_different():
    shown = Shown.of(np.zeros(40, dtype=np.int64))
    drawn = augmented_batches(IMAGES, LABELS, shown, 40, Augmenter("medical", PolicyOptions(37), seed=0), 1, threads=2)
    assert len({image.numpy().tobytes() for image in next(drawn)[0]}) > 4


@pytest.mark.slow
def test_importing_the_policies_opens_no_connection():
    code = """
import socket
def refuse(*address):
    raise AssertionError(f"a connection to {address}")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import trainables.core.data.augment.random_policies
"""
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
