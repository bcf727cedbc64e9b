"""Augmentation policies: what may happen to an image, as transforms of albumentations that run in order."""

from collections.abc import Callable
from dataclasses import dataclass

import albumentations as A
import cv2

from trainables.core.data.augment.random_policies import rand_augment, trivial_augment

# `strong` crops from images this much larger than the network's input: 256 for 224.
STRONG_MARGIN = 256 / 224
FLIP_PROBABILITY = 0.5  # of the policy `flip`

Transforms = list[A.BasicTransform | A.BaseCompose]


@dataclass(frozen=True)
class PolicyOptions:
    """Options of the policies.

    Attributes:
        image_size: Side of the result in pixels.
        rand_augment_ops: Operations per image of ``rand_augment``.
        rand_augment_magnitude: Their magnitude, in 0..30.
    """

    image_size: int
    rand_augment_ops: int = 2
    rand_augment_magnitude: int = 9


def _flip(options: PolicyOptions) -> Transforms:  # noqa: ARG001
    return [A.HorizontalFlip(p=FLIP_PROBABILITY)]


def _medical(options: PolicyOptions) -> Transforms:  # noqa: ARG001
    """Flip 0.5, quarter turns 0.3, elastic 0.2, gamma 0.2."""
    return [A.HorizontalFlip(p=0.5), A.RandomRotate90(p=0.3), A.ElasticTransform(p=0.2), A.RandomGamma(p=0.2)]


def _strong(options: PolicyOptions) -> Transforms:
    """From 256/224 of the size: random crop of 0.8..1, flips, rotation by 20 degrees, colour jitter, shift, noise."""
    return [
        A.RandomResizedCrop((options.image_size, options.image_size), scale=(0.8, 1.0)),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.2),
        A.Affine(rotate=(-20, 20), translate_percent=(-0.1, 0.1), p=0.7),
        A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0, p=0.5),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
    ]


def _flips_and_rotation(options: PolicyOptions) -> Transforms:  # noqa: ARG001
    """Flips and rotation by any angle, for images without a fixed orientation. Corners are filled by reflection."""
    turn = A.Affine(rotate=(-180, 180), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), turn]


def _trivial_augment(options: PolicyOptions) -> Transforms:  # noqa: ARG001
    return [A.HorizontalFlip(p=0.5), trivial_augment()]


def _rand_augment(options: PolicyOptions) -> Transforms:
    return [A.HorizontalFlip(p=0.5), *rand_augment(options.rand_augment_ops, options.rand_augment_magnitude)]


POLICIES: dict[str, Callable[[PolicyOptions], Transforms] | None] = {
    "none": None,
    "flip": _flip,
    "medical": _medical,
    "strong": _strong,
    "flips_and_rotation": _flips_and_rotation,
    "trivial_augment": _trivial_augment,
    "rand_augment": _rand_augment,
}


def source_size(policy: str, image_size: int) -> int:
    """Return the side, in pixels, at which a policy needs images decoded: larger for policies that crop."""
    return round(image_size * STRONG_MARGIN) if policy == "strong" else image_size
