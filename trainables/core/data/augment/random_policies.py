"""TrivialAugment and RandAugment, restricted to operations that are safe for medical images.

Ten of RandAugment's fourteen operations are left. Solarize reverses grey levels, Posterize and Sharpness remove or
invent detail, and Color changes stains. The largest rotation and shear are RandAugment's. The largest translation is
10% of the side (in whole pixels) instead of 45%, and the largest change of brightness and contrast 50% instead of 90%.
"""

from collections.abc import Callable
from typing import TypeAlias

import albumentations as A

MAGNITUDES = 30  # RandAugment's largest magnitude
_ROTATION, _SHEAR, _SHIFT, _GREY = 30.0, 17.0, 0.1, 0.5  # degrees, degrees, share of the side, relative change

Transform: TypeAlias = A.BasicTransform | A.BaseCompose
# From the lowest and the highest strength, in -1..1, to a transform with a strength drawn uniformly between them.
Operation = Callable[[float, float], Transform]


def _jitter(**factors: tuple[float, float]) -> Transform:
    same = (1.0, 1.0)
    return A.ColorJitter(**{"brightness": same, "contrast": same, "saturation": same, "hue": (0.0, 0.0)} | factors, p=1)


def _scaled(low: float, high: float, most: float, middle: float = 0.0) -> tuple[float, float]:
    return middle + low * most, middle + high * most


# Operations with a sign and a strength.
SIGNED: dict[str, Operation] = {
    "rotate": lambda low, high: A.Affine(rotate=_scaled(low, high, _ROTATION), p=1),
    "shear_x": lambda low, high: A.Affine(shear={"x": _scaled(low, high, _SHEAR), "y": (0.0, 0.0)}, p=1),
    "shear_y": lambda low, high: A.Affine(shear={"x": (0.0, 0.0), "y": _scaled(low, high, _SHEAR)}, p=1),
    "translate_x": lambda low, high: A.Affine(translate_percent={"x": _scaled(low, high, _SHIFT), "y": (0, 0)}, p=1),
    "translate_y": lambda low, high: A.Affine(translate_percent={"x": (0, 0), "y": _scaled(low, high, _SHIFT)}, p=1),
    "brightness": lambda low, high: _jitter(brightness=_scaled(low, high, _GREY, 1.0)),
    "contrast": lambda low, high: _jitter(contrast=_scaled(low, high, _GREY, 1.0)),
}
# Operations without either.
PLAIN: dict[str, Callable[[], Transform]] = {
    "identity": lambda: A.NoOp(p=1),
    "autocontrast": lambda: A.AutoContrast(method="pil", p=1),
    "equalize": lambda: A.Equalize(mode="cv", p=1),  # "pil" writes into its input
}


def trivial_augment() -> Transform:
    """Return TrivialAugment (Müller & Hutter 2021): one operation of a uniformly drawn strength and sign.

    The strength is drawn from an interval, where the paper draws from 31 values.
    """
    return A.OneOf([*_plain(), *(operation(-1.0, 1.0) for operation in SIGNED.values())], p=1)


def rand_augment(ops: int, magnitude: int) -> list[Transform]:
    """Return RandAugment (Cubuk et al. 2020): operations drawn with replacement, of one strength and a random sign.

    Args:
        ops: Operations per image.
        magnitude: Their strength, in 0..``MAGNITUDES``, where 0 changes nothing except by plain operations.
    """
    strength = magnitude / MAGNITUDES
    return [
        A.OneOf([*_plain(), *(_either_sign(signed, strength) for signed in SIGNED.values())], p=1) for _ in range(ops)
    ]


def _plain() -> list[Transform]:
    return [operation() for operation in PLAIN.values()]


def _either_sign(operation: Operation, strength: float) -> Transform:
    return A.OneOf([operation(-strength, -strength), operation(strength, strength)], p=1)
