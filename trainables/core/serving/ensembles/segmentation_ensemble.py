"""Ensemble of segmenters, from images of any size to masks of the same size."""

import base64
import io
from collections.abc import Iterator, Sequence
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
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.pixel_predictions import predicted_masks
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.base import Ensemble, Prediction
from trainables.core.serving.image_input import decode_images, named_by
from trainables.core.serving.predict_masks import predict_pixels_with_features
from trainables.core.serving.training_features import joined

if TYPE_CHECKING:
    import pandas as pd

# Name of the output column.
MASK = "mask"
_BATCH = 16


class SegmentationEnsemble(Ensemble):
    """Segmenters and the weights of their pixel probabilities."""

    predicts_masks = True
    answer_heading = MASK

    def __init__(
        self,
        members: Sequence[Sequence[Checkpoint]],
        combination: Combination,
        views: str,  # noqa: ARG002
        roi: Ensemble | None,
        device: torch.device,
    ):
        """Build the ensemble. The arguments are those of ``ClassificationEnsemble``; ``views`` is not used.

        Raises:
            CheckpointError: A member has several models, or ``roi`` is given.
        """
        if roi is not None or any(len(models) != 1 for models in members):
            raise CheckpointError("a segmentation must have one model per member, and no other to crop images with")
        super().__init__(members, device)
        self.combination, self.weights = combination, combination.weights

    def predict_batch(self, images: Sequence[Any]) -> list[Prediction]:
        """Predict the masks of a batch of images."""
        size = max(member.image_size for member in self.members)
        return [
            Prediction(
                mask=self._combine(one.members, one.shape),
                input_mask=self._combine(one.members, (size, size)),
                unlike=one.unlike[0],
                unlike_score=one.unlike[1],
            )
            for one in self._predicted(images, self.pixel_format)
        ]

    def features(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Return the (n, D) features of a batch of n images, means of the last maps of the members' encoders."""
        return np.stack([one.features for one in self._predicted(images, self.pixel_format)])

    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return one column, ``mask``, of grey PNGs as base64 text.

        Each PNG has its image's size. Its values are classes: 0 for the background, 1 + c for class c.
        """
        import pandas as pd

        masks = [prediction.mask for prediction in predictions if prediction.mask is not None]
        return pd.DataFrame({MASK: [base64.b64encode(as_png(mask)).decode() for mask in masks]}, dtype=object)

    def boxes(self, images: Sequence[Any], scale: PixelFormat) -> list[Box | None]:
        """Return the bounding box of each image's mask, as ``box_of`` draws it. See ``masks`` for the arguments."""
        return [box_of(mask) for mask in self.masks(images, scale)]

    def masks(self, images: Sequence[Any], scale: PixelFormat | None = None) -> list[NDArray[np.uint8]]:
        """Return the (H, W) mask of each image, holding one small batch of pixels in memory at a time.

        Args:
            images: Images in a form that ``images_and_patients`` returns.
            scale: Pixel format of the data set that the images come from, for its range of values. None for the range
                of the data set that the members were trained on.
        """
        pixel_format = self.scaled_format(scale) if scale else self.pixel_format
        return [self._combine(one.members, one.shape) for one in self._predicted(images, pixel_format)]

    def scaled_format(self, scale: PixelFormat) -> PixelFormat:
        """Return the format that images are decoded to, with the range of values of another format."""
        return replace(self.pixel_format, white=scale.white, black=scale.black)

    def _predicted(self, images: Sequence[Any], pixel_format: PixelFormat) -> Iterator["_Predicted"]:
        for start in range(0, len(images), _BATCH):
            with named_by(range(start, len(images))):
                decoded = decode_images(images[start : start + _BATCH], self.image_sizes, pixel_format)
            passes = [
                predict_pixels_with_features(member.models[0], decoded.pixels[member.image_size])
                for member in self.members
            ]
            members = [features for _, features in passes]
            features = joined(members)
            for index, unlike in enumerate(self.unlike_training(decoded, members)):
                parts = [one[index : index + 1] for one, _ in passes]
                yield _Predicted(parts, decoded.shapes[index], unlike, features[index])

    def _combine(self, predictions: Sequence[Tensor], shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the most likely classes by the weighted mean of the members' (1, K, S, S) probabilities, resized."""
        parts = [
            weight * interpolate(probabilities, size=shape, mode="bilinear", antialias=True)
            for weight, probabilities in zip(self.weights, predictions, strict=True)
        ]
        return predicted_masks(torch.stack(parts).sum(dim=0))[0].to(torch.uint8).cpu().numpy()


@dataclass(frozen=True, eq=False)
class _Predicted:
    """Predictions of all members for one image.

    Attributes:
        members: (1, K, S, S) pixel probabilities of each member.
        shape: Height and width of the image.
        unlike: How it differs from the training images, as ``unlike_training`` returns it.
        features: (D,) features.
    """

    members: Sequence[Tensor]
    shape: tuple[int, int]
    unlike: tuple[str, float | None]
    features: NDArray[np.float32]


def as_png(mask: NDArray[np.uint8]) -> bytes:
    """Encode an (H, W) mask as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()
