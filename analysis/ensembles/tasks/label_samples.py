"""Images with any number of labels, and their patients, as samples to score predictions by."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.intervals.score_parts import ScoreParts, label_parts
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Kind, Probabilities, Sample, sides
from trainables.core.data.patient_labels import patient_label_sets
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.combine_labels import ANY_IMAGE, LabelCombination
from trainables.core.serving.combining.patient_rule import LABEL_PATIENT_RULES, PatientRule
from trainables.core.serving.operating_point import reaches
from trainables.core.training.metrics.multi_label_metrics import multi_label_metrics, resampled_multi_label_metrics


@dataclass(frozen=True, eq=False)
class LabelSample(Sample):
    """Images with any number of labels, in groups. ``labels`` is (N, L) of 0 and 1.

    It scores (N, L) probabilities, or (N, 2L) probabilities and decisions, as ``multi_label_metrics`` does.
    """

    def scores(self, probabilities: Probabilities, needed: str | None = None) -> dict[str, float]:
        """Compute all metrics, or only ``needed``."""
        return multi_label_metrics(probabilities, self.labels, self.class_names, needed)

    def resampled_scores(
        self, probabilities: Probabilities, draws: NDArray[np.int64], needed: str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Compute all metrics on R resamples, or only ``needed``: (R,) each, from (R, N) draws of every image."""
        return resampled_multi_label_metrics(probabilities, self.labels, self.class_names, draws, needed)

    def parts(self, probabilities: Probabilities) -> ScoreParts:
        """Return the parts that the metrics are made of."""
        return label_parts(probabilities, self.labels, self.class_names)

    def rarer(self, label: int) -> Kind:
        """Return the images with, or without a label, whichever fewer groups have. Its figures rest on both."""
        present, absent = sides(self.groups, self.has(label))
        return Kind(self.class_names[label], min(present, absent), present <= absent)


@dataclass(frozen=True, eq=False)
class LabelPatientSample(PatientSample, LabelSample):
    """Images of patients with any number of labels. A patient has the labels of any of its images.

    Attributes:
        thresholds: (L,) probabilities of patients from which a label is assigned; empty before they are chosen.
    """

    image_sample: ClassVar[type[Sample]] = LabelSample
    thresholds: tuple[float, ...] = ()

    @property
    def rules(self) -> tuple[PatientRule, ...]:
        """Rules to choose from, the default first."""
        return LABEL_PATIENT_RULES

    def combined_as(self, combination: Combination) -> Self:
        """Return the sample with the patient rule and the thresholds of an ensemble."""
        assert isinstance(combination, LabelCombination)
        return replace(self, rule=combination.patients, thresholds=combination.patient_thresholds)

    def combined(self, predictions: Probabilities) -> NDArray[np.float64]:
        """Combine (N, 2L) probabilities and decisions of images to (P, 2L) of patients; (N, L) without decisions.

        Without thresholds, a label is assigned to a patient if it is assigned to any of the images.
        """
        probabilities, decisions = np.split(predictions, [len(self.class_names)], axis=1)
        combined = self.rule.apply(probabilities, self.patients)
        if self.thresholds:
            return np.hstack([combined, reaches(combined, self.thresholds)])
        return np.hstack([combined, ANY_IMAGE.apply(decisions, self.patients)])

    @cached_property
    def labels_of_patients(self) -> NDArray[np.int64]:
        """(P, L) labels of each patient, of 0 and 1."""
        return patient_label_sets(self.labels, self.patients)
