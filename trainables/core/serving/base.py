"""Interface of an ensemble, whatever its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.data.decode.images import PixelFormat
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combine import Combination
from trainables.core.serving.image_input import images_of

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image: class probabilities or a mask.

    Attributes:
        probabilities: (C,) float32 class probabilities; None for a segmentation.
        mask: (H, W) uint8 pixel classes, 0 for the background and 1 + c for class c; None for a classification.
    """

    probabilities: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None


class Ensemble(ABC):
    """Trained members and the rule that combines their predictions.

    Attributes:
        predicts_masks: True if a prediction is a mask, False if it is class probabilities.
        class_names: C names in class order.
        pixel_format: Format that images are converted to.
    """

    predicts_masks: ClassVar[bool]
    class_names: tuple[str, ...]
    pixel_format: PixelFormat

    @classmethod
    @abstractmethod
    def from_checkpoints(
        cls,
        members: Sequence[Sequence[Checkpoint]],
        combination: Combination,
        views: str,
        roi: "Ensemble | None",
        device: torch.device,
    ) -> Self:
        """Build the ensemble on a device.

        Args:
            members: Checkpoints of each member's models: one, or one per fold.
            combination: Rule that combines the members.
            views: Key of ``predict_classes.VIEWS``.
            roi: Segmentation that images are cropped with, or None.
            device: Device of all models.

        Raises:
            CheckpointError: The task does not support these members or ``roi``.
        """

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":  # noqa: ARG002
        """Predict images, as MLflow's pyfunc interface requires.

        Args:
            model_input: Images in any form that ``images_of`` accepts.
            params: Unused; MLflow passes it.

        Returns:
            One row per image, with the columns of ``to_frame``.

        Raises:
            DataError: An image cannot be read; the message has its position.
        """
        images = images_of(model_input)
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        return self.to_frame([prediction for batch in batches for prediction in self.predict_batch(batch)])

    @abstractmethod
    def predict_batch(self, images: Sequence[Any]) -> list[Prediction]:
        """Predict a batch of images, each in a form that ``images_of`` returns.

        Raises:
            DataError: An image cannot be read; the message has its position in the batch.
        """

    @abstractmethod
    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return predictions as a data frame with one row per image."""
