"""Ensemble of classifiers, from images to class probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.ensembles.base import SET_COLUMNS, Prediction, free_name
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.operating_point import PATIENT

if TYPE_CHECKING:
    import pandas as pd

IS_POSITIVE = "is_positive"


class ClassificationEnsemble(WholeImageEnsemble):
    """Classifiers whose classes exclude each other."""

    has_patients = True
    answer_heading = "class"

    def answer(self, probabilities: NDArray[np.float32]) -> str:
        """Return the most likely class of (C,) probabilities."""
        return self.class_names[int(probabilities.argmax())]

    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return one float32 column of probabilities per class, and whether they are positive if that is known."""
        frame = super().to_frame(predictions)
        decisions = [one.is_positive for one in predictions if one.is_positive is not None]
        if decisions:
            frame[positive_column(self.class_names)] = np.array(decisions)
        return frame

    def decision_columns(self, unit: str) -> tuple[str, ...]:
        """Return the columns of the operating point and of the prediction sets, if there are any for this unit."""
        point, sets = self.combination.point_of(unit), self.combination.sets_of(unit)
        return (*((IS_POSITIVE,) if point else ()), *(SET_COLUMNS if sets else ()))

    def combine_patients(self, predictions: Sequence[Prediction], patients: NDArray[np.int64]) -> list[Prediction]:
        """Combine the class probabilities of each patient's images, and count those unlike the training images."""
        probabilities = np.array([prediction.probabilities for prediction in predictions])
        combined = self.combination.patients.apply(probabilities, patients).astype(np.float32)
        unlike = np.bincount(patients, [bool(prediction.unlike) for prediction in predictions]).astype(int)
        counted = [
            f"{few} of {images} images" if few else ""
            for few, images in zip(unlike, np.bincount(patients), strict=True)
        ]
        return [
            Prediction(probabilities=row, unlike=text, unlike_score=score, **self.decisions(row, PATIENT))
            for row, text, score in zip(combined, counted, _largest_scores(predictions, patients), strict=True)
        ]


def _largest_scores(predictions: Sequence[Prediction], patients: NDArray[np.int64]) -> list[float | None]:
    scores = np.array([prediction.unlike_score for prediction in predictions], dtype=float)  # None becomes NaN
    largest = [scores[patients == patient].max() for patient in range(patients.max() + 1)]
    return [None if np.isnan(score) else float(score) for score in largest]


def positive_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column that says whether the probabilities reach the operating point."""
    return free_name(IS_POSITIVE, class_names)
