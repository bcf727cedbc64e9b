"""Operations that move pixels."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid

from trainables.core.data.augment.batched.counter_random import normal
from trainables.core.data.augment.batched.operation import Operation, Pixels


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Choose between images by a (B,) condition."""
    return torch.where(condition.view(-1, *[1] * (no.ndim - 1)), yes, no).contiguous()


def _grid(columns: Tensor, rows: Tensor) -> Tensor:
    """Combine (B, size) columns and (B, size) rows into (B, size, size, 2) positions."""
    size = columns.shape[1]
    return torch.stack([columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], dim=-1)


@dataclass(frozen=True)
class Flip(Operation):
    """Mirror images whose parameter is 1.

    Attributes:
        axis: 1 swaps top and bottom, 2 left and right.
    """

    axis: int
    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Mirror a batch."""
        flips = parameters[:, 0] == 1
        return pixels.each(lambda tensor: _where(flips, tensor.flip(self.axis), tensor))


@dataclass(frozen=True)
class QuarterTurns(Operation):
    """Turn images counterclockwise by a number of quarters, in 0..3."""

    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Turn a batch."""
        quarters = parameters[:, 0]
        once, twice = quarters % 2 == 1, quarters >= 2

        def turned(tensor: Tensor) -> Tensor:
            tensor = _where(once, tensor.rot90(1, (1, 2)), tensor)
            return _where(twice, tensor.flip((1, 2)), tensor)

        return pixels.each(turned)


@dataclass(frozen=True)
class Crop(Operation):
    """Cut out a rectangle (left, top, width, height in pixels) and resize it as ``cv2.resize`` does.

    Images are interpolated linearly within the rectangle. Masks take the pixel to the left and above, as OpenCV's
    INTER_NEAREST.

    Attributes:
        source: Side of the images in pixels.
        size: Side of the results in pixels.
    """

    source: int
    size: int

    @property
    def neutral(self) -> tuple[float, ...]:
        """The whole image."""
        return 0.0, 0.0, self.source, self.source

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Crop a batch."""
        start, length = parameters[:, :2, None], parameters[:, 2:, None]  # (B, 2, 1): of columns and rows
        places = torch.arange(self.size, device=parameters.device)
        read = ((places + 0.5) * (length / self.size) - 0.5).clamp(min=0).minimum(length - 1) + start  # (B, 2, size)
        columns, rows = (read * (2 / (self.source - 1)) - 1).unbind(1)
        images = Pixels(pixels.images).sampled(_grid(columns, rows), "border").images
        if pixels.masks is None:
            return Pixels(images)
        columns, rows = (places * length.long() // self.size + start.long()).unbind(1)
        batch = torch.arange(len(images), device=parameters.device)
        return Pixels(images, pixels.masks[batch[:, None, None], rows[:, :, None], columns[:, None, :]])


@dataclass(frozen=True)
class Warp(Operation):
    """Move pixels by an affine map: the parameters are the 2 x 3 matrix of ``affine_grid``, from results to images.

    Attributes:
        padding: Pixels outside of an image, see ``Pixels.sampled``.
    """

    padding: str
    neutral = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Warp a batch."""
        count, side = pixels.images.shape[:2]
        grid = affine_grid(parameters.view(count, 2, 3), [count, 1, side, side], align_corners=True)
        return pixels.sampled(grid, self.padding)


@dataclass(frozen=True)
class Elastic(Operation):
    """Move every pixel by smoothed noise, as albumentations' ``ElasticTransform``. The parameter is 1 or 0.

    Attributes:
        alpha: Factor of the smoothed noise, whose largest value was 1 before.
        sigma: Standard deviation of the Gaussian blur in pixels.
    """

    alpha: float
    sigma: float
    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:
        """Deform a batch."""
        count, side = pixels.images.shape[:2]
        noise = normal(keys, 2 * side * side).view(count, 2 * side, side)
        noise = noise / noise.abs().amax((1, 2), keepdim=True)
        # albumentations blurs both directions as one image, one below the other, so they mix where they meet.
        down, across = (_blur(length, self.sigma, keys.device) for length in (2 * side, side))
        moves = (down @ noise @ across.T).view(count, 2, side, side).permute(0, 2, 3, 1)
        moves = moves * parameters.view(-1, 1, 1, 1) * (2 * self.alpha / (side - 1))
        places = torch.linspace(-1, 1, side, device=keys.device)
        return pixels.sampled(_grid(places[None], places[None]) + moves, "zeros")


@lru_cache(maxsize=8)
def _blur(length: int, sigma: float, device: torch.device) -> Tensor:
    """Return the (length, length) matrix of a Gaussian blur, with the outermost values repeated beyond the ends.

    The radius is that of ``cv2.GaussianBlur`` for floats.
    """
    radius = (round(8 * sigma + 1) | 1) // 2
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    sources = (torch.arange(length)[:, None] + offsets).clamp(0, length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, sources, (weights / weights.sum()).expand(length, -1))
    return matrix.float().to(device)
