"""Ensemble of classifiers, from images to class probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.ensembles.base import Prediction, free_name
from trainables.core.serving.ensembles.whole_image_ensemble import IS_POSITIVE, WholeImageEnsemble
from trainables.core.serving.operating_point import PATIENT

if TYPE_CHECKING:
    import pandas as pd


class ClassificationEnsemble(WholeImageEnsemble):
    """Classifiers whose classes exclude each other."""

    answer_heading = "class"

    def answer(self, probabilities: NDArray[np.float32]) -> str:
        """Return the most likely class of (C,) probabilities."""
        return self.class_names[int(probabilities.argmax())]

    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return one float32 column of probabilities per class, and whether they are positive if that is known.

        None stands for an image or a patient on which nothing is decided, because only the other unit has a point.
        """
        frame = super().to_frame(predictions)
        decisions = [one.is_positive for one in predictions]
        if any(one is not None for one in decisions):
            frame[positive_column(self.class_names)] = np.array(decisions)
        return frame

    def decide_patients(
        self,
        probabilities: NDArray[np.float32],  # noqa: ARG002
        combined: NDArray[np.float32],
        patients: NDArray[np.int64],  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Return the decisions about (P, C) combined probabilities."""
        return [self.decisions(row, PATIENT) for row in combined]


def positive_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column that says whether the probabilities reach the operating point."""
    return free_name(IS_POSITIVE, class_names)
