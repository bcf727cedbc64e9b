"""Interface of an ensemble, whatever its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.data.splits.similarity import SIDE
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import trained_network
from trainables.core.serving.image_input import Decoded, images_of

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 64
_UNLIKE = "unlike_training"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction for one image: class probabilities or a mask.

    Attributes:
        probabilities: (C,) float32 class probabilities; None for a segmentation.
        mask: (H, W) uint8 pixel classes, 0 for the background and 1 + c for class c; None for a classification.
        unlike: Ways in which the image differs from the training images, in words; "" if none is known.
    """

    probabilities: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None
    unlike: str = ""


def unlike_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column that says how an image differs from the training images."""
    return f"{_UNLIKE} (images)" if _UNLIKE in class_names else _UNLIKE


@dataclass(frozen=True)
class Member:
    """Networks whose predictions are averaged; they take (B, S, S, channels) uint8, with S the image size."""

    models: Sequence[PixelNetwork]
    image_size: int


class Ensemble(ABC):
    """Trained members whose predictions are combined.

    Attributes:
        predicts_masks: True if a prediction is a mask, False if it is class probabilities.
        members: Members with their networks in eval mode.
        class_names: C names in class order.
        pixel_format: Format that images are converted to.
        kind: Kind of the training images; None in models that were registered by earlier versions.
        ordered: True if the classes are grades, from the lowest to the highest.
    """

    predicts_masks: ClassVar[bool]

    def __init__(self, members: Sequence[Sequence[Checkpoint]], device: torch.device):
        """Build the members' networks on a device.

        Args:
            members: Checkpoints of each member's models: one, or one per fold.
            device: Device of all networks.

        Raises:
            CheckpointError: The checkpoints are not all of one task.
        """
        first = members[0][0]
        tasks = {model.config.task for models in members for model in models}
        if len(tasks) > 1:
            raise CheckpointError(f"all members must have the same task, but have {', '.join(sorted(tasks))}")
        self.class_names, self.pixel_format, self.kind = first.class_names, first.pixel_format, first.kind
        self.ordered = first.ordered
        self.members = [
            Member([trained_network(model, device) for model in models], models[0].config.image_size)
            for models in members
        ]

    @property
    def image_sizes(self) -> set[int]:
        """All sizes that images are decoded to."""
        return {member.image_size for member in self.members} | ({SIDE} if self.kind else set())

    def unlike_training(self, decoded: Decoded) -> list[str]:
        """Return the ways in which each image differs from the training images, in words; "" if none is known."""
        return self.kind.warnings(decoded.pixels[SIDE], decoded.shapes) if self.kind else [""] * len(decoded.shapes)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":  # noqa: ARG002
        """Predict images, as MLflow's pyfunc interface requires.

        Args:
            model_input: Images in any form that ``images_of`` accepts.
            params: Unused; MLflow passes it.

        Returns:
            One row per image, with the columns of ``to_frame``. Models that know the kind of their training images add
            a column ``unlike_training`` with the ways in which an image differs from them, "" if there are none.

        Raises:
            DataError: An image cannot be read; the message has its position.
        """
        images = images_of(model_input)
        batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
        predictions = [prediction for batch in batches for prediction in self.predict_batch(batch)]
        frame = self.to_frame(predictions)
        if self.kind:
            frame[unlike_column(self.class_names)] = np.array([one.unlike for one in predictions], dtype=object)
        return frame

    @abstractmethod
    def predict_batch(self, images: Sequence[Any]) -> list[Prediction]:
        """Predict a batch of images, each in a form that ``images_of`` returns.

        Raises:
            DataError: An image cannot be read; the message has its position in the batch.
        """

    @abstractmethod
    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return predictions as a data frame with one row per image."""
