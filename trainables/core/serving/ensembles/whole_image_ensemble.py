"""Ensemble of networks that predict for whole images, from images to probabilities of classes or labels."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.plural import plural
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensembles.base import Ensemble, Member, Prediction
from trainables.core.serving.ensembles.segmentation_ensemble import SegmentationEnsemble
from trainables.core.serving.image_input import Decoded, decode_images
from trainables.core.serving.operating_point import IMAGE
from trainables.core.serving.predict_classes import mean_probabilities, predict_with_features
from trainables.core.serving.training_features import Members, joined

if TYPE_CHECKING:
    import pandas as pd

IS_POSITIVE = "is_positive"


class WholeImageEnsemble(Ensemble):
    """Classifiers, the rule that combines them, and the views of an image that each of them averages over."""

    predicts_masks, has_patients = False, True

    def __init__(
        self,
        members: Sequence[Sequence[Checkpoint]],
        combination: Combination,
        views: str,
        roi: Ensemble | None,
        device: torch.device,
    ):
        """Build the ensemble.

        Args:
            members: Checkpoints of each member's models: one, or one per fold.
            combination: Rule that combines the members.
            views: Key of ``predict_classes.VIEWS``.
            roi: Segmentation that images are cropped with, or None to use whole images.
            device: Device of all networks.

        Raises:
            CheckpointError: ``roi`` is not a segmentation.
        """
        if not isinstance(roi, SegmentationEnsemble | None):
            raise CheckpointError("the ensemble that images are cropped with must be a segmentation")
        super().__init__(members, device)
        self.combination, self.views, self.roi = combination, views, roi

    def predict_batch(self, images: Sequence[Any]) -> list[Prediction]:
        """Predict the probabilities of a batch of images."""
        decoded = self._decode(images)
        probabilities, features = self._combined(decoded)
        rows = zip(probabilities, self.unlike_training(decoded, features), strict=True)
        return [
            Prediction(probabilities=row, unlike=unlike, unlike_score=score, **self.decisions(row))
            for row, (unlike, score) in rows
        ]

    @abstractmethod
    def answer(self, probabilities: NDArray[np.float32]) -> str:
        """Describe (C,) probabilities in words, such as the most likely class."""

    def decisions(self, probabilities: NDArray[np.float32], unit: str = IMAGE) -> dict[str, Any]:
        """Return the attributes of a prediction that follow from (C,) probabilities of an image or a patient."""
        point = self.combination.point_of(unit)
        decided: dict[str, Any] = {"answer": self.answer(probabilities)}
        if point is not None:
            decided[IS_POSITIVE] = bool(point.decide(probabilities[None])[0])
        return decided | self.set_of(probabilities, unit)

    def set_of(self, probabilities: NDArray[np.float32], unit: str) -> dict[str, Any]:
        """Return the attributes of a prediction that hold its prediction set; none without sets of the unit."""
        sets = self.combination.sets_of(unit)
        return {} if sets is None else sets.attributes(probabilities, self.class_names)

    def combine_patients(self, predictions: Sequence[Prediction], patients: NDArray[np.int64]) -> list[Prediction]:
        """Combine the probabilities of each patient's images, and count those unlike the training images."""
        probabilities = np.array([prediction.probabilities for prediction in predictions])
        combined = self.combination.patients.apply(probabilities, patients).astype(np.float32)
        decided = self.decide_patients(probabilities, combined, patients)
        unlike = np.bincount(patients, [bool(prediction.unlike) for prediction in predictions]).astype(int)
        counted = [
            f"{few} of {plural(images, 'image')}" if few else ""
            for few, images in zip(unlike, np.bincount(patients), strict=True)
        ]
        rows = zip(combined, decided, counted, _largest_scores(predictions, patients), strict=True)
        return [
            Prediction(probabilities=row, unlike=text, unlike_score=score, **attributes)
            for row, attributes, text, score in rows
        ]

    def decision_columns(self, unit: str) -> tuple[str, ...]:
        """Return the columns of the operating point and of the prediction sets, if there are any for this unit."""
        point, sets = self.combination.point_of(unit), self.combination.sets_of(unit)
        return (*((IS_POSITIVE,) if point else ()), *(sets.columns if sets else ()))

    @abstractmethod
    def decide_patients(
        self, probabilities: NDArray[np.float32], combined: NDArray[np.float32], patients: NDArray[np.int64]
    ) -> list[dict[str, Any]]:
        """Return the attributes of each patient's prediction that are decisions.

        Args:
            probabilities: (N, C) probabilities of the images.
            combined: (P, C) probabilities of the patients.
            patients: (N,) patient of each image, numbered from 0.
        """

    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return one float32 column of probabilities per class or label, in their order."""
        import pandas as pd

        rows = [prediction.probabilities for prediction in predictions]
        table = np.array(rows, dtype=np.float32).reshape(-1, len(self.class_names))
        return pd.DataFrame(table, columns=list(self.class_names))

    def probabilities(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Return (n, C) float32 probabilities of a batch of n images."""
        return self._combined(self._decode(images))[0]

    def features(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Return the (n, D) features of a batch of n images."""
        return joined(self._combined(self._decode(images))[1])

    def _decode(self, images: Sequence[Any]) -> Decoded:
        boxes = self.roi.boxes(images, self.pixel_format) if self.roi else None
        return decode_images(images, self.image_sizes, self.pixel_format, boxes)

    def _combined(self, decoded: Decoded) -> tuple[NDArray[np.float32], Members]:
        """Return (n, C) probabilities, and the (n, F) features by each member from the same passes."""
        members = [self._predict_member(member, decoded.pixels[member.image_size]) for member in self.members]
        predictions, features = zip(*members, strict=True)
        return self.combination.apply(np.stack(predictions)).astype(np.float32), features

    def _predict_member(
        self, member: Member, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        indices = np.arange(len(pixels))
        passes = [predict_with_features(model, pixels, indices, views=self.views) for model in member.models]
        return mean_probabilities([predictions for predictions, _ in passes]), passes[0][1]


def _largest_scores(predictions: Sequence[Prediction], patients: NDArray[np.int64]) -> list[float | None]:
    scores = np.array([prediction.unlike_score for prediction in predictions], dtype=float)  # None becomes NaN
    largest = [scores[patients == patient].max() for patient in range(patients.max() + 1)]
    return [None if np.isnan(score) else float(score) for score in largest]
