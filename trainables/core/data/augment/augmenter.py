"""The augmenter, which applies a policy and random erasing to one image at a time."""

import random
import threading

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.core.data.augment.policies import FLIP_PROBABILITY, POLICIES, PolicyOptions
from trainables.core.data.augment.random_erasing import random_erasing
from trainables.core.seeds import derive_seed

cv2.setNumThreads(0)  # images are augmented in parallel; OpenCV's own threads would exceed the CPUs that Ray reserved

_ERASING = 1  # last key of the seed, where the policy's seed has none


class Augmenter:
    """Applies a policy to one image at a time. Safe to call from several threads.

    The result is a pure function of (seed, epoch, image, draw), whichever thread or process computes it, so a resumed
    trial sees the same images as an uninterrupted one.

    Args:
        policy: Key of ``POLICIES``.
        options: Options of the policy.
        seed: Seed of the training.
        erasing: Probability of erasing a random rectangle after the policy, in 0..1.
    """

    def __init__(self, policy: str, options: PolicyOptions, seed: int, erasing: float = 0.0):
        self._build, self._options, self._seed, self._erasing = POLICIES[policy], options, seed, erasing
        self._threads = threading.local()  # a Compose has its own random state, so each thread needs one

    @property
    def is_identity(self) -> bool:
        """True if images are never changed."""
        return self._build is None and self._erasing == 0

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
        augmented = self._transformed({"image": image}, index, epoch, draw)["image"]
        if self._erasing == 0:
            return augmented
        return random_erasing(augmented, self._erasing, derive_seed(self._seed, epoch, index, draw, _ERASING))

    def pair(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], index: int, epoch: int, draw: int = 0
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Augment an image by the policy, and transform its (S, S) mask with it by nearest neighbour."""
        transformed = self._transformed({"image": image, "mask": mask}, index, epoch, draw)
        return transformed["image"], transformed["mask"]

    def flips(self, images: NDArray[np.int64], draws: NDArray[np.int64], epoch: int) -> NDArray[np.bool_]:
        """Return, for (n,) images under the policy ``flip``, which ones are mirrored, without the images."""
        drawn = zip(images.tolist(), draws.tolist(), strict=True)
        return np.array([self._flips(index, epoch, draw) for index, draw in drawn], dtype=np.bool_)

    def _flips(self, index: int, epoch: int, draw: int) -> bool:
        """Return the second draw of albumentations."""
        stream = random.Random(derive_seed(self._seed, epoch, index, draw))
        stream.random()  # decides whether the Compose runs at all
        return stream.random() < FLIP_PROBABILITY

    def _transformed(
        self, targets: dict[str, NDArray[np.uint8]], index: int, epoch: int, draw: int
    ) -> dict[str, NDArray[np.uint8]]:
        if self._build is None:
            return targets
        if not hasattr(self._threads, "compose"):
            self._threads.compose = A.Compose(self._build(self._options))
        compose = self._threads.compose
        seed = derive_seed(self._seed, epoch, index, draw)
        # One stream for all transforms. ``set_random_seed`` would give each its own of the same seed: equal draws.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        transformed: dict[str, NDArray[np.uint8]] = compose(**targets)
        return transformed
