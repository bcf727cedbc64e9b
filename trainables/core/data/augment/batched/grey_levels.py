"""Operations that replace each grey level by another one: 256 levels for each image, or for each of its channels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.core.data.augment.batched.operation import Operation, Pixels


def _replaced(images: Tensor, levels: Tensor) -> Tensor:
    """Look up (B, S, S, C) pixels in (B, 1 or C, 256) levels."""
    count, channels = len(images), images.shape[3]
    tables = levels.to(torch.uint8).expand(-1, channels, -1).reshape(count, -1)
    places = images.long() + 256 * torch.arange(channels, device=images.device)
    return tables.gather(1, places.view(count, -1)).view_as(images)


def _levels(images: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float64, device=images.device)


@dataclass(frozen=True)
class Gamma(Operation):
    """Raise images, in 0..1, to a power."""

    neutral = (1.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Apply the powers to a batch."""
        levels, power = _levels(pixels.images), parameters[:, :, None]
        raised = ((levels / 255) ** power * 255).floor()  # albumentations cuts the fraction off
        return pixels._replace(images=_replaced(pixels.images, torch.where(power == 1, levels, raised)))


@dataclass(frozen=True)
class AutoContrast(Operation):
    """Stretch each channel of images whose parameter is 1 to 0..255.

    Like albumentations, it ignores the level 255: the largest other level becomes 255.
    """

    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Stretch a batch."""
        images, levels = pixels.images, _levels(pixels.images)
        lowest = images.amin((1, 2)).double()[:, :, None]
        highest = torch.where(images == 255, 0, images).amax((1, 2)).double()[:, :, None]
        stretched = ((levels - lowest) * (255 / (highest - lowest))).round().clamp(0, 255)
        changes = (parameters[:, :, None] == 1) & (highest > lowest)
        return pixels._replace(images=_replaced(images, torch.where(changes, stretched, levels)))


@dataclass(frozen=True)
class Equalize(Operation):
    """Equalize the histogram of each channel of images whose parameter is 1, as ``cv2.equalizeHist``."""

    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Equalize a batch."""
        images, levels = pixels.images, _levels(pixels.images)
        by_channel = images.flatten(1, 2).transpose(1, 2).long()  # (B, C, S * S)
        histogram = torch.zeros(*by_channel.shape[:2], 256, dtype=torch.int64, device=images.device)
        histogram.scatter_add_(2, by_channel, torch.ones_like(by_channel))
        least = histogram.gather(2, by_channel.amin(2, keepdim=True))  # pixels of the lowest level, which becomes 0
        others = by_channel.shape[2] - least
        equalized = ((histogram.cumsum(2) - least).float() * (255 / others.float())).round().clamp(0, 255)
        changes = (parameters[:, :, None] == 1) & (others > 0)
        return pixels._replace(images=_replaced(images, torch.where(changes, equalized, levels)))
