"""A registered segmentation: members whose masks are averaged, from images of any size to masks of the same size."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from trainables.core.data.decode.crop import Box, box_of
from trainables.core.data.decode.images import PixelFormat
from trainables.core.models.networks.pixel_predictions import predicted_masks
from trainables.core.models.networks.segmenter import Segmenter
from trainables.core.serving.image_input import decoded, given_images, size_of
from trainables.core.serving.predict_masks import predict_pixels

if TYPE_CHECKING:
    import pandas as pd

# The column of the masks.
MASK = "mask"
_BATCH = 16


@dataclass(frozen=True)
class MaskMember:
    """One trial of a served ensemble: a network that takes (B, S, S, channels) uint8 at its own size S."""

    model: Segmenter
    image_size: int


class ServedMasks:
    """Members, the weights of their probabilities, and what their classes are."""

    def __init__(
        self,
        members: Sequence[MaskMember],
        weights: Sequence[float],
        class_names: tuple[str, ...],
        pixel_format: PixelFormat,
    ):
        self.members = members
        self.weights = weights
        self.class_names = class_names
        self.pixel_format = pixel_format

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":  # noqa: ARG002
        """Masks of images.

        Args:
            model_input: Images, as ``given_images`` takes them.
            params: Not used; MLflow passes it.

        Returns:
            One row an image; ``mask`` is a grey PNG of the image's size as base64 text, whose values are the classes: 0
            the background, 1 + c class c.

        Raises:
            DataError: An image cannot be read; the message says which.
        """
        import pandas as pd

        masks = self.masks(given_images(model_input))
        return pd.DataFrame({MASK: [base64.b64encode(as_png(mask)).decode() for mask in masks]}, dtype=object)

    def boxes(self, images: Sequence[Any], white: int) -> list[Box | None]:
        """The box of what is seen in each image, as ``box_of`` draws it; the arguments are those of ``masks``."""
        return [box_of(mask) for mask in self.masks(images, white)]

    def masks(self, images: Sequence[Any], white: int | None = None) -> list[NDArray[np.uint8]]:
        """An (H, W) mask of each image; a batch in memory at a time.

        Args:
            images: As ``given_images`` gives them.
            white: As ``PixelFormat`` has it, of the data set that the images are from; None where they are like those
                that the members were trained on.
        """
        pixel_format = self.pixel_format if white is None else replace(self.pixel_format, white=white)
        masks = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            sizes = {member.image_size for member in self.members}  # each image is decoded once a size
            pixels = {size: decoded(batch, size, pixel_format) for size in sizes}
            of_members = [predict_pixels(member.model, pixels[member.image_size]) for member in self.members]
            for position, image in enumerate(batch):
                masks.append(self._mask([of[position : position + 1] for of in of_members], size_of(image)))
        return masks

    def _mask(self, of_members: Sequence[Tensor], size: tuple[int, int]) -> NDArray[np.uint8]:
        """The weighted mean of (1, K, S, S) probabilities at the image's own size, where it is likeliest."""
        parts = [
            weight * interpolate(probabilities, size=size, mode="bilinear", antialias=True)
            for weight, probabilities in zip(self.weights, of_members, strict=True)
        ]
        return predicted_masks(torch.stack(parts).sum(dim=0))[0].to(torch.uint8).cpu().numpy()


def as_png(mask: NDArray[np.uint8]) -> bytes:
    """A mask as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()
