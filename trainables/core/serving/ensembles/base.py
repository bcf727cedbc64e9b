"""Interface of an ensemble, whatever its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.data.decode.images import SIDE
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.source import numbered
from trainables.core.errors import CheckpointError, DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import trained_network
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.image_input import (
    PATIENT_COLUMN,
    Decoded,
    images_and_patients,
    named_by,
    with_slices,
)
from trainables.core.serving.operating_point import IMAGE, PATIENT
from trainables.core.serving.training_features import Members, TrainingFeatures

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 64
# Columns of a prediction beside those of its task, and the parameters of ``predict``.
_UNLIKE, _SCORE, _IMAGES = "unlike_training", "unlike_score", "images"
PATIENTS, WITH_SETS = "patients", "prediction_sets"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction for one image: class probabilities or a mask.

    Attributes:
        probabilities: (C,) float32 class probabilities; None for a segmentation.
        mask: (H, W) uint8 pixel classes, 0 for the background and 1 + c for class c; None for a classification.
        input_mask: The same at the size of the network's input, at which a search scores masks.
        unlike: Ways in which the image differs from the training images, in words; "" if none is known.
        answer: The predicted class, or the labels separated by ``|`` (``none`` without any); "" for a segmentation.
        unlike_score: Distance of the image's features from those of training images, see ``TrainingFeatures.scores``;
            above 1, ``unlike`` says so. None in models that were registered by earlier versions.
        is_positive: True if the probabilities reach the threshold of the model's operating point; None without one.
        prediction_set: Classes that are not ruled out, separated by ``|``, "" if all are; None without prediction sets.
        abstain: True unless the prediction set has exactly one class; None for labels and without prediction sets.
        undecided: Labels whose prediction set does not have exactly one of present and absent, separated by ``|``;
            None for classes and without prediction sets.
    """

    probabilities: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None
    input_mask: NDArray[np.uint8] | None = None
    unlike: str = ""
    answer: str = ""
    unlike_score: float | None = None
    is_positive: bool | None = None
    prediction_set: str | None = None
    abstain: bool | None = None
    undecided: str | None = None


def unlike_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column that says how an image differs from the training images."""
    return free_name(_UNLIKE, class_names)


def score_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column with ``Prediction.unlike_score``."""
    return free_name(_SCORE, class_names)


def free_name(column: str, class_names: Sequence[str]) -> str:
    """Return the name of an output column beside those of the classes."""
    return f"{column} (images)" if column in class_names else column


@dataclass(frozen=True)
class Member:
    """Networks whose predictions are averaged; they take (B, S, S, channels) uint8, with S the image size."""

    models: Sequence[PixelNetwork]
    image_size: int


class Ensemble(ABC):
    """Trained members whose predictions are combined.

    Attributes:
        predicts_masks: True if a prediction is a mask, False if it is class probabilities.
        has_patients: True if predictions for the images of a patient can be combined.
        answer_heading: Heading of the column of answers, or of masks.
        combination_kind: Class of the rule that combines the members.
        combination: Rule that combines the members.
        members: Members with their networks in eval mode.
        class_names: C names in class order.
        pixel_format: Format that images are converted to.
        kind: Kind of the training images; None in models that were registered by earlier versions.
        ordered: True if the classes are grades, from the lowest to the highest.
        training_features: Features of training images; None in models that were registered by earlier versions.
    """

    combination: Combination
    training_features: TrainingFeatures | None = None
    predicts_masks: ClassVar[bool]
    has_patients: ClassVar[bool] = False
    answer_heading: ClassVar[str]
    combination_kind: ClassVar[type[Combination]] = Combination

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

    def unlike_training(self, decoded: Decoded, features: Members) -> list[tuple[str, float | None]]:
        """Return ``unlike`` and ``unlike_score`` of each image's prediction.

        Args:
            decoded: The n images.
            features: (n, F) features by each member.
        """
        count = len(decoded.shapes)
        kinds = self.kind.warnings(decoded.pixels[SIDE], decoded.shapes) if self.kind else [""] * count
        if self.training_features is None:
            return [(kind, None) for kind in kinds]
        scored = zip(kinds, self.training_features.scores(features).tolist(), strict=True)
        return [("; ".join(filter(None, (kind, _far(score)))), score) for kind, score in scored]

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Predict images or, with their patients, patients, as MLflow's pyfunc interface requires.

        Args:
            model_input: Images, and their patients if these are to be predicted, in any form that
                ``images_and_patients`` accepts. A NIfTI volume gets one row of a classification: its slices are
                combined, and decided on, like the images of a patient.
            params: ``patients``, the patient of each image, instead of a column; an empty list, or none, says nothing.
                ``prediction_sets``: True adds the columns ``prediction_set`` and ``abstain``, or of several labels
                ``undecided``, see ``Prediction``.

        Returns:
            One row per image, with the columns of ``to_frame``. Models that know the kind of their training images add
            a column ``unlike_training`` with the ways in which an image differs from them, "" if there are none.
            Those that know the features of training images add ``unlike_score``, see ``Prediction``.
            With patients, one row per patient, in the order of their first images, with two columns more: ``patient``
            and ``images``, the number of images, of a volume that of its slices. ``unlike_training`` then counts such
            images, and ``unlike_score`` is the largest of them.

        Raises:
            DataError: An image cannot be read (the message has its position), an image lacks its patient, the task has
                no results per patient, or the model lacks prediction sets of images or of patients.
        """
        params = params or {}
        with_sets = bool(params.get(WITH_SETS))
        images, patients = images_and_patients(model_input, params.get(PATIENTS, ()))
        slices, positions, combined = images, np.arange(len(images)), np.zeros(len(images), dtype=bool)
        if self.has_patients:
            slices, positions, is_volume = with_slices(images, self.pixel_format.slicing or Slicing())
            # A model whose patients had one image each decides only on images, and a single slice is one.
            combined = is_volume & (self.combination.decides_on(PATIENT) | (np.bincount(positions) > 1))
        if with_sets:
            self._check_sets({PATIENT} if patients else {PATIENT if one else IMAGE for one in combined})
        predictions = []
        for start in range(0, len(slices), _BATCH):
            with named_by(positions[start:]):
                predictions += self.predict_batch(slices[start : start + _BATCH])
        if not patients:
            return self._frame(self._combine_volumes(predictions, positions, combined), with_sets)
        numbers = numbered(patients)[positions]
        frame = self._frame(self.combine_patients(predictions, numbers), with_sets)
        frame.insert(0, free_name(PATIENT_COLUMN, self.class_names), list(dict.fromkeys(patients)))
        frame[free_name(_IMAGES, self.class_names)] = np.bincount(numbers)
        return frame

    def _check_sets(self, units: Set[str]) -> None:
        """Raise DataError if the model lacks prediction sets of images or of patients that are to be predicted."""
        known = {sets.unit for sets in self.combination.sets}
        if not known:
            raise DataError("prediction_sets needs a model with prediction sets, but this model has none")
        if lacking := units - known:
            units_lacking = "patients, also for volumes," if PATIENT in lacking else "images,"
            raise DataError(
                f"prediction_sets needs a model with prediction sets of {units_lacking} but this model has only those "
                f"of {min(known)}s: leave prediction_sets out, or pass {min(known)}s only"
            )

    def _combine_volumes(
        self, predictions: Sequence[Prediction], positions: NDArray[np.int64], combined: NDArray[np.bool_]
    ) -> list[Prediction]:
        """Combine the predictions for the slices of each volume, and leave those for images as they are.

        Args:
            predictions: Predictions for n images and slices.
            positions: (n,) position in the input of each.
            combined: (m,) True for the inputs that are volumes.
        """
        in_volume = combined[positions]
        slices = [one for one, is_slice in zip(predictions, in_volume, strict=True) if is_slice]
        images = iter(one for one, is_slice in zip(predictions, in_volume, strict=True) if not is_slice)
        volumes = iter(self.combine_patients(slices, numbered(positions[in_volume].tolist())) if slices else [])
        return [next(volumes if is_volume else images) for is_volume in combined]

    def _frame(self, predictions: Sequence[Prediction], with_sets: bool) -> "pd.DataFrame":
        frame = self.to_frame(predictions)
        for column in self.combination.sets_kind.columns if with_sets else ():
            values = [getattr(one, column) for one in predictions]
            frame[free_name(column, self.class_names)] = np.array(values, dtype=object)
        if self.kind or self.training_features:
            frame[unlike_column(self.class_names)] = np.array([one.unlike for one in predictions], dtype=object)
        if self.training_features:
            frame[score_column(self.class_names)] = np.array([one.unlike_score for one in predictions], dtype=float)
        return frame

    def decision_columns(self, unit: str) -> tuple[str, ...]:  # noqa: ARG002
        """Return the attributes of a prediction that hold decisions about an image or a patient."""
        return ()

    def combine_patients(
        self,
        predictions: Sequence[Prediction],  # noqa: ARG002
        patients: NDArray[np.int64],  # noqa: ARG002
    ) -> list[Prediction]:
        """Combine the predictions for the images of each patient.

        Args:
            predictions: Predictions for N images.
            patients: (N,) patient of each image, numbered from 0.

        Raises:
            DataError: ``has_patients`` is False.
        """
        raise DataError("results per patient need a model that predicts for whole images, but this one makes masks")

    @abstractmethod
    def features(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Return the (n, D) features of a batch of n images, as ``joined`` makes them of those of all members.

        Those of a member with one model per fold are the features of its first model.
        """

    @abstractmethod
    def predict_batch(self, images: Sequence[Any]) -> list[Prediction]:
        """Predict a batch of images, each in a form that ``images_and_patients`` returns.

        Raises:
            UnreadableImageError: An image cannot be read.
        """

    @abstractmethod
    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return predictions as a data frame with one row per image."""


def _far(score: float) -> str:
    """Return how far the features are from those of training images, in words; "" if they are near."""
    return "" if score <= 1 else f"features {score:.3g} times as far from those of training images as the limit"
