"""The interface of operations: a change of a whole batch, with parameters of its own for each image."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self

from torch import Tensor
from torch.nn.functional import grid_sample


class Pixels(NamedTuple):
    """Images of a batch with their masks.

    Attributes:
        images: (B, S, S, channels) uint8.
        masks: (B, S, S) uint8, or None.
    """

    images: Tensor
    masks: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Change images and masks alike."""
        return type(self)(change(self.images), None if self.masks is None else change(self.masks))

    def sampled(self, grid: Tensor, padding: str) -> Self:
        """Read images at positions by bilinear interpolation, and masks by the nearest neighbour.

        Args:
            grid: (B, S', S', 2) columns and rows, where -1 and 1 are the centres of the first and last pixels.
            padding: Padding mode of ``grid_sample``. ``zeros`` and ``reflection`` are OpenCV's BORDER_CONSTANT with 0
                and BORDER_REFLECT_101.
        """
        values = self.images.permute(0, 3, 1, 2).float()
        read = grid_sample(values, grid, "bilinear", padding, align_corners=True)
        images = read.permute(0, 2, 3, 1).round().to(self.images.dtype).contiguous()
        if self.masks is None:
            return type(self)(images)
        nearest = grid_sample(self.masks[:, None].float(), grid, "nearest", padding, align_corners=True)
        return type(self)(images, nearest[:, 0].to(self.masks.dtype))


class Operation(ABC):
    """A change of a batch, equal to one transform of albumentations with parameters that are drawn beforehand.

    Subclasses are frozen dataclasses. Those that are equal can be applied together. They never wait for the device.
    """

    @property
    @abstractmethod
    def neutral(self) -> tuple[float, ...]:
        """The parameters of an image that must not change."""

    @abstractmethod
    def __call__(self, pixels: Pixels, parameters: Tensor, keys: Tensor) -> Pixels:
        """Change a batch.

        Args:
            pixels: Images and masks, which stay as they are.
            parameters: (B, P) float32 parameters of the images.
            keys: (B,) keys of the random numbers for single pixels.
        """
