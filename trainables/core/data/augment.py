"""Augmentation policies for uint8 images, seeded by image and epoch. Resizing and normalisation happen elsewhere."""

import os
import random
import threading
from collections.abc import Callable

# Importing albumentations would ask the package index for its newest version, which takes 2 s behind a firewall.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.core.seeds import derive_seed

cv2.setNumThreads(0)  # images are augmented in parallel; OpenCV's own threads would exceed the CPUs that Ray reserved

# `strong` crops from images this much larger than the network's input: 256 for 224.
STRONG_MARGIN = 256 / 224
FLIP_PROBABILITY = 0.5  # of the policy `flip`


def _flip(size: int) -> list[A.BasicTransform]:  # noqa: ARG001
    return [A.HorizontalFlip(p=FLIP_PROBABILITY)]


def _medical(size: int) -> list[A.BasicTransform]:  # noqa: ARG001
    """Flip 0.5, quarter turns 0.3, elastic 0.2, gamma 0.2."""
    return [A.HorizontalFlip(p=0.5), A.RandomRotate90(p=0.3), A.ElasticTransform(p=0.2), A.RandomGamma(p=0.2)]


def _strong(size: int) -> list[A.BasicTransform]:
    """From 256/224 of the size: random crop of 0.8..1, flips, rotation by 20 degrees, colour jitter, shift, noise."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.8, 1.0)),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.2),
        A.Affine(rotate=(-20, 20), translate_percent=(-0.1, 0.1), p=0.7),
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0, p=0.5),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
    ]


def _flips_and_rotation(size: int) -> list[A.BasicTransform]:  # noqa: ARG001
    """Flips and rotation by any angle, for images without a fixed orientation. Corners are filled by reflection."""
    turn = A.Affine(rotate=(-180, 180), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), turn]


POLICIES: dict[str, Callable[[int], list[A.BasicTransform]] | None] = {
    "none": None,
    "flip": _flip,
    "medical": _medical,
    "strong": _strong,
    "flips_and_rotation": _flips_and_rotation,
}


def source_size(policy: str, image_size: int) -> int:
    """Return the side, in pixels, at which a policy needs images decoded: larger for policies that crop."""
    return round(image_size * STRONG_MARGIN) if policy == "strong" else image_size


class Augmenter:
    """Applies a policy to one image at a time. Safe to call from several threads.

    The result is a pure function of (seed, epoch, image, draw), whichever thread or process computes it, so a resumed
    trial sees the same images as an uninterrupted one.
    """

    def __init__(self, policy: str, image_size: int, seed: int):
        self._build, self._image_size, self._seed = POLICIES[policy], image_size, seed
        self._threads = threading.local()  # a Compose has its own random state, so each thread needs one

    def __call__(self, image: NDArray[np.uint8], index: int, epoch: int, draw: int = 0) -> NDArray[np.uint8]:
        """Augment an image.

        Args:
            image: (S, S, channels) uint8 with the side that ``source_size`` returns.
            index: Index of the image in the data set.
            epoch: Epoch, from 1.
            draw: How often the image was already shown in this epoch.

        Returns:
            (image_size, image_size, channels) uint8.
        """
        return self._transformed({"image": image}, index, epoch, draw)["image"]

    def pair(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], index: int, epoch: int, draw: int = 0
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment an image like ``__call__``, and transform its (S, S) mask with it by nearest neighbour."""
        transformed = self._transformed({"image": image, "mask": mask}, index, epoch, draw)
        return transformed["image"], transformed["mask"]

    def flips(self, index: int, epoch: int, draw: int = 0) -> bool:
        """Return True if the policy ``flip`` mirrors an image, without the image: albumentations' own first draw."""
        return random.Random(derive_seed(self._seed, epoch, index, draw)).random() < FLIP_PROBABILITY

    def _transformed(
        self, targets: dict[str, NDArray[np.uint8]], index: int, epoch: int, draw: int
    ) -> dict[str, NDArray[np.uint8]]:
        if self._build is None:
            return targets
        if not hasattr(self._threads, "compose"):
            self._threads.compose = A.Compose(self._build(self._image_size))
        compose = self._threads.compose
        compose.set_random_seed(derive_seed(self._seed, epoch, index, draw))
        transformed: dict[str, NDArray[np.uint8]] = compose(**targets)
        return transformed
