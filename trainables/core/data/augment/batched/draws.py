"""Parameters of operations, drawn on the CPU for many images in one go as albumentations draws them for one."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import albumentations as A
import cv2
import torch
from torch import Tensor

from trainables.core.data.augment.batched.counter_random import uniform
from trainables.core.data.augment.batched.geometry import Crop, Elastic, Flip, QuarterTurns, Warp
from trainables.core.data.augment.batched.grey_levels import AutoContrast, Equalize, Gamma
from trainables.core.data.augment.batched.operation import Operation
from trainables.core.data.augment.batched.pixel_values import Erase, Jitter, Noise
from trainables.core.data.augment.random_erasing import AREAS, ASPECTS

_ATTEMPTS = 10  # draws of a rectangle that fits into the image, in albumentations and in timm
_PADDING = {cv2.BORDER_CONSTANT: "zeros", cv2.BORDER_REFLECT_101: "reflection"}

Range = tuple[float, float]


class Drawn(NamedTuple):
    """An operation with the distribution of its parameters.

    Attributes:
        operation: The operation.
        draw: Function from (n,) keys to (n, P) parameters.
    """

    operation: Operation
    draw: Callable[[Tensor], Tensor]


def drawn(transform: Any, side: int) -> Drawn | None:
    """Return the equivalent of a transform of albumentations for images with a side in pixels; None changes nothing.

    Raises:
        NotImplementedError: There is none.
    """
    match transform:
        case A.NoOp():
            return None
        case A.HorizontalFlip() | A.VerticalFlip():
            return Drawn(Flip(2 if isinstance(transform, A.HorizontalFlip) else 1), _switched_on)
        case A.RandomRotate90():
            return Drawn(QuarterTurns(), lambda keys: (4 * uniform(keys, 1)).floor())
        case A.RandomResizedCrop():
            return Drawn(Crop(side, transform.size[0]), lambda keys: _crops(transform, keys, side))
        case A.Affine():
            return Drawn(Warp(_PADDING[transform.border_mode]), lambda keys: _matrices(transform, keys, side))
        case A.ElasticTransform():
            return Drawn(Elastic(transform.alpha, transform.sigma), _switched_on)
        case A.RandomGamma():
            low, high = transform.gamma_limit
            return Drawn(Gamma(), lambda keys: _between((low / 100, high / 100), uniform(keys, 1)))
        case A.AutoContrast():
            return Drawn(AutoContrast(), _switched_on)
        case A.Equalize():
            return Drawn(Equalize(), _switched_on)
        case A.ColorJitter():
            return Drawn(Jitter(), lambda keys: _jitters(transform, keys))
        case A.GaussNoise():
            return Drawn(Noise(), lambda keys: 255 * _between(transform.std_range, uniform(keys, 1)))
    raise NotImplementedError(f"{type(transform).__name__} has no equal for batches")


def drawn_erasing(side: int) -> Drawn:
    """Return random erasing of images with a side in pixels, with the rectangles of ``erased_box``."""
    return Drawn(Erase(), lambda keys: _erased_boxes(keys, side))


def _switched_on(keys: Tensor) -> Tensor:
    return torch.ones(len(keys), 1, dtype=torch.float64)


def _between(limits: Range, shares: Tensor) -> Tensor:
    low, high = limits
    return low + (high - low) * shares


def _rectangles(draws: Tensor, areas: Range, aspects: Range, side: int, longest: int) -> tuple[Tensor, Tensor]:
    """Return the two sides of (n,) rectangles in whole pixels, those of the first attempt whose sides are not too long.

    Args:
        draws: (n, 2 * _ATTEMPTS) uniform numbers.
        areas: Smallest and largest share of the image.
        aspects: Smallest and largest ratio of the first side to the second one, which is uniform in its logarithm.
        side: Side of the image in pixels.
        longest: Longest side of a rectangle in pixels. If no attempt is below it, both sides are 0.
    """
    area = _between(areas, draws[:, :_ATTEMPTS]) * side**2
    aspect = _between((math.log(aspects[0]), math.log(aspects[1])), draws[:, _ATTEMPTS:]).exp()
    first, second = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (first.maximum(second) <= longest) & (first.minimum(second) > 0)
    attempt = fits.int().argmax(1, keepdim=True)  # the first one that fits, or 0
    fits = fits.gather(1, attempt)[:, 0]
    return fits * first.gather(1, attempt)[:, 0], fits * second.gather(1, attempt)[:, 0]


def _placed(width: Tensor, height: Tensor, draws: Tensor, side: int) -> Tensor:
    """Return (left, top, width, height) of rectangles at uniformly drawn places."""
    left, top = ((side - length + 1) * draws[:, axis] for axis, length in enumerate((width, height)))
    return torch.stack([left.floor(), top.floor(), width, height], dim=1)


def _crops(transform: A.RandomResizedCrop, keys: Tensor, side: int) -> Tensor:
    draws = uniform(keys, 2 * _ATTEMPTS + 2)
    width, height = _rectangles(draws[:, 2:], transform.scale, transform.ratio, side, side)
    whole = width == 0
    return _placed(width + side * whole, height + side * whole, draws, side)


def _erased_boxes(keys: Tensor, side: int) -> Tensor:
    draws = uniform(keys, 2 * _ATTEMPTS + 2)
    height, width = _rectangles(draws[:, 2:], AREAS, ASPECTS, side, side - 1)
    return _placed(width, height, draws, side)


def _matrices(transform: A.Affine, keys: Tensor, side: int) -> Tensor:
    """Return the inverse of shift * shear * rotation around the centre, in the coordinates of ``affine_grid``."""
    draws = uniform(keys, 5)
    angle = torch.deg2rad(_between(transform.rotate, draws[:, 0]))
    rotation = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    slopes = [-torch.deg2rad(_between(transform.shear[axis], draws[:, 1 + k])).tan() for k, axis in enumerate("xy")]
    ones = torch.ones_like(angle)
    shear = torch.stack([ones, slopes[0], slopes[1], ones], dim=1).view(-1, 2, 2)
    shares = transform.translate_percent or {"x": (0.0, 0.0), "y": (0.0, 0.0)}
    shift = torch.stack([_between(shares[axis], draws[:, 3 + k]) for k, axis in enumerate("xy")], dim=1)
    inverse = torch.linalg.inv(shear @ rotation)
    moved = inverse @ (shift * side).trunc()[:, :, None] * (2 / (side - 1))
    return torch.cat([inverse, -moved], dim=2).flatten(1)


def _jitters(transform: A.ColorJitter, keys: Tensor) -> Tensor:
    """Return the coefficients of ``Jitter`` for brightness (0), contrast (1) and saturation (2) in a random order."""
    draws = uniform(keys, 6)
    limits = (transform.brightness, transform.contrast, transform.saturation)
    factors = torch.stack([_between(limits[k], draws[:, k]) for k in range(3)], dim=1)
    order = draws[:, 3:].argsort(1)  # hue, which stays, may come anywhere between them
    factors = factors.gather(1, order)
    saturates = order == 2
    # OpenCV rounds saturated colours; albumentations cuts the fraction off otherwise.
    steps = [factors, (1 - factors) * saturates, (1 - factors) * (order == 1), 0.5 * saturates]
    return torch.stack(steps, dim=2).flatten(1)
