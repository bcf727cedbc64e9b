"""Random numbers as a pure function of keys: bit for bit the same integers in any batch, on any device.

The generator is SplitMix64 (Steele, Lea and Flood 2014) read at any position: number i of a key is the hash of
key + (i + 1) * 0x9E3779B97F4A7C15. Keys are int64 tensors, whose sums and products wrap around.
"""

import math

import torch
from torch import Tensor


def _signed(number: int) -> int:
    """Return the signed integer with the same lowest 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


_STEP, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def fold(keys: Tensor, number: Tensor | int) -> Tensor:
    """Derive keys from keys and a number >= 0, or one number for each key."""
    step = _signed((number + 1) * _STEP) if isinstance(number, int) else (number + 1) * _STEP
    return _hashed(keys + step)


def image_keys(seed: int, epoch: int, images: Tensor, draws: Tensor) -> Tensor:
    """Return the (n,) keys of images.

    Args:
        seed: Seed of the training.
        epoch: Epoch, from 1.
        images: (n,) int64 indices in the data set.
        draws: (n,) int64 numbers that say how often each image was already shown in this epoch.
    """
    start = torch.zeros(1, dtype=torch.int64, device=images.device)
    return fold(fold(fold(fold(start, seed), epoch), images), draws)


def bits(keys: Tensor, count: int) -> Tensor:
    """Return (n, count) int64 numbers of 64 random bits for (n,) keys."""
    return _hashed(keys[:, None] + torch.arange(1, count + 1, device=keys.device) * _STEP)


def uniform(keys: Tensor, count: int) -> Tensor:
    """Return (n, count) float64 numbers that are uniform in [0, 1) for (n,) keys."""
    return _shifted(bits(keys, count), 11).double() * 2.0**-53


def normal(keys: Tensor, count: int) -> Tensor:
    """Return (n, count) float32 numbers from the standard normal distribution for (n,) keys, by Box and Muller.

    Devices may round them differently.
    """
    pairs = bits(keys, (count + 1) // 2)
    radius = ((_shifted(pairs, 40).float() + 0.5) * 2.0**-24).log_().mul_(-2).sqrt_()
    angle = (pairs & (2**24 - 1)).float() * (2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def random_bytes(keys: Tensor, count: int) -> Tensor:
    """Return (n, count) uint8 numbers that are uniform in 0..255 for (n,) keys."""
    return bits(keys, (count + 7) // 8).view(torch.uint8)[:, :count]


def _hashed(numbers: Tensor) -> Tensor:
    """Hash int64 numbers in place."""
    numbers ^= _shifted(numbers, 30)
    numbers *= _FIRST
    numbers ^= _shifted(numbers, 27)
    numbers *= _SECOND
    numbers ^= _shifted(numbers, 31)
    return numbers


def _shifted(numbers: Tensor, places: int) -> Tensor:
    """Shift to the right as if the numbers had no sign."""
    return (numbers >> places).bitwise_and_((1 << (64 - places)) - 1)
