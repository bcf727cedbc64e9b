"""The base of all networks: input as uint8 pixels, normalised on the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNetwork(nn.Module, ABC):
    """A network from (B, S, S, 1 or 3) uint8 pixels to logits.

    It scales and normalises pixels on the device. That moves a quarter of the bytes that floats would, and a registered
    model always uses the constants it was trained with.
    """

    scale: Tensor
    shift: Tensor

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and standard deviation of three channels, for images in 0..1, as part of the state dict."""
        means, stds = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (1 / (255 * stds)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-means / stds).view(1, 3, 1, 1))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Turn (B, S, S, 1 or 3) uint8 pixels into (B, 3, S, S) floats; grey pixels fill all three channels."""
        # (B, S, S, C) viewed as (B, C, S, S) is already channels_last; a grey channel broadcasts to three.
        normalised = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        return normalised.contiguous(memory_format=torch.channels_last)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Turn (B, C) logits of C exclusive classes into probabilities."""
        return logits.softmax(dim=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of (B, S, S, 1 or 3) uint8 pixels; grey pixels fill all three channels."""
        return self.features_and_logits(pixels)[1]

    @abstractmethod
    def features_and_logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, F) features of (B, S, S, 1 or 3) uint8 pixels, pooled over the image, and the logits."""

    @abstractmethod
    def top_down(self) -> list[nn.Module]:
        """Return the parts that each have one learning rate, from the output down to the input."""
