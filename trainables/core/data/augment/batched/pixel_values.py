"""Operations that change the values of pixels: brightness, contrast, saturation, noise and erasing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.core.data.augment.batched.counter_random import normal, random_bytes
from trainables.core.data.augment.batched.operation import Operation, Pixels

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Jitter(Operation):
    """Change brightness, contrast and saturation, in an order of each image's own.

    The parameters of each of the three steps are a, b, c and d: a pixel becomes the integer part of
    a * pixel + b * grey value of the pixel + c * mean grey value of the image + d.
    """

    neutral = (1.0, 0.0, 0.0, 0.0) * 3

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:  # noqa: ARG002
        """Change the colours of a batch."""
        values = pixels.images.float()
        for step in parameters.view(-1, 3, 4, 1, 1, 1).unbind(1):
            a, b, c, d = step.unbind(1)
            grey = _grey(values)
            mean = grey.mean((1, 2), keepdim=True)
            values = (a * values + b * grey + (c * mean + d)).floor_().clamp_(0, 255)
        return pixels._replace(images=values.to(pixels.images.dtype))


def _grey(values: Tensor) -> Tensor:
    """Return the (B, S, S, 1) rounded grey values of pixels."""
    if values.shape[3] == 1:
        return values
    red, green, blue = (share * values[..., channel, None] for channel, share in enumerate(_LUMA))
    return (red + green + blue).round_()


@dataclass(frozen=True)
class Noise(Operation):
    """Add normal noise with a standard deviation, in grey levels, to every value."""

    neutral = (0.0,)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:
        """Add noise to a batch."""
        noise = normal(keys, pixels.images[0].numel()).view(pixels.images.shape)
        # albumentations cuts the fraction of the noise off
        noisy = (pixels.images + (noise * parameters.view(-1, 1, 1, 1)).trunc_()).clamp_(0, 255)
        return pixels._replace(images=noisy.to(pixels.images.dtype))


@dataclass(frozen=True)
class Erase(Operation):
    """Replace a rectangle (left, top, width, height in pixels) by noise that is uniform in 0..255."""

    neutral = (0.0, 0.0, 0.0, 0.0)

    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:
        """Erase rectangles of a batch."""
        images = pixels.images
        places = torch.arange(images.shape[1], device=images.device)
        start, length = parameters[:, :2, None], parameters[:, 2:, None]
        columns, rows = ((places >= start) & (places < start + length)).unbind(1)
        inside = (rows[:, :, None] & columns[:, None, :])[..., None]
        noise = random_bytes(keys, images[0].numel()).view(images.shape)
        return pixels._replace(images=torch.where(inside, noise, images))
