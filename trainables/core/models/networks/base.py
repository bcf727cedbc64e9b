"""What every network has in common that takes images as they are decoded: uint8 pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNetwork(nn.Module, ABC):
    """Takes (B, S, S, 1 or 3) uint8 pixels and returns logits.

    Scaling and normalisation happen here, on the device: a quarter of the bytes travel, and a registered model cannot
    be fed with other constants than it was trained with.
    """

    scale: Tensor
    shift: Tensor

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets what each of three channels is normalised by, of images in 0..1; the state dict carries it."""
        means, stds = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (1 / (255 * stds)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-means / stds).view(1, 3, 1, 1))

    def normalised(self, pixels: Tensor) -> Tensor:
        """(B, S, S, 1 or 3) uint8 pixels to (B, 3, S, S) floats; grey pixels fill all three channels."""
        # (B, S, S, C) seen as (B, C, S, S) is already channels_last; a grey channel broadcasts to three.
        normalised = pixels.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
        return normalised.contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def top_down(self) -> list[nn.Module]:
        """The parts that share a learning rate, from the output down."""
