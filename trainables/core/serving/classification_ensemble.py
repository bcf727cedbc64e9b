"""Ensemble of classifiers, from images to class probabilities."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.base import Prediction
from trainables.core.serving.whole_image_ensemble import WholeImageEnsemble


class ClassificationEnsemble(WholeImageEnsemble):
    """Classifiers whose classes exclude each other."""

    has_patients = True
    answer_heading = "class"

    def answer(self, probabilities: NDArray[np.float32]) -> str:
        """Return the most likely class of (C,) probabilities."""
        return self.class_names[int(probabilities.argmax())]

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
            Prediction(probabilities=row, unlike=text, answer=self.answer(row), unlike_score=score)
            for row, text, score in zip(combined, counted, _largest_scores(predictions, patients), strict=True)
        ]


def _largest_scores(predictions: Sequence[Prediction], patients: NDArray[np.int64]) -> list[float | None]:
    scores = np.array([prediction.unlike_score for prediction in predictions], dtype=float)  # None becomes NaN
    largest = [scores[patients == patient].max() for patient in range(patients.max() + 1)]
    return [None if np.isnan(score) else float(score) for score in largest]
