"""Ensemble of multi-label classifiers, from images to the probability of each label and the labels decided on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.serving.combining.combine_labels import LabelCombination
from trainables.core.serving.ensembles.base import Prediction
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.operating_point import PATIENT

if TYPE_CHECKING:
    import pandas as pd

LABELS = "labels"
SEPARATOR = "|"
NO_LABEL = "none"


class MultiLabelEnsemble(WholeImageEnsemble):
    """Classifiers whose classes are independent labels, and the thresholds that decide on each."""

    answer_heading = LABELS
    combination_kind = LabelCombination

    def to_frame(self, predictions: Sequence[Prediction]) -> "pd.DataFrame":
        """Return one float32 column of probabilities per label, then the labels that reach their threshold."""
        frame = super().to_frame(predictions)
        frame[labels_column(self.class_names)] = np.array([one.answer for one in predictions], dtype=object)
        return frame

    def answer(self, probabilities: NDArray[np.float32]) -> str:
        """Return the labels that reach their threshold, separated by ``|``; ``none`` without any."""
        assert isinstance(self.combination, LabelCombination)
        return self._named(self.combination.decide(probabilities))

    def decide_patients(
        self, probabilities: NDArray[np.float32], combined: NDArray[np.float32], patients: NDArray[np.int64]
    ) -> list[dict[str, Any]]:
        """Return the labels that are assigned to each patient (``LabelCombination.decide_patients``), and the sets."""
        assert isinstance(self.combination, LabelCombination)
        decided = self.combination.decide_patients(probabilities, combined, patients)
        return [
            {"answer": self._named(of_patient), **self.set_of(row, PATIENT)}
            for of_patient, row in zip(decided, combined, strict=True)
        ]

    def _named(self, decided: NDArray[np.bool_]) -> str:
        names = [name for name, given in zip(self.class_names, decided, strict=True) if given]
        return SEPARATOR.join(names) or NO_LABEL


def labels_column(class_names: Sequence[str]) -> str:
    """Return the name of the output column with the labels decided on."""
    return f"{LABELS} (decided)" if LABELS in class_names else LABELS
