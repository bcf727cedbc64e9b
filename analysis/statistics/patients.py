"""Patients as the units that are scored and resampled, by the predictions of their images."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Indices, Probabilities, Sample
from trainables.core.data.labels import label_sets
from trainables.core.data.patient_labels import NO_LABEL, healthy_class, patient_labels
from trainables.core.metric_names import PATIENT
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.combining.patient_rule import PatientRule, patient_rules
from trainables.core.serving.operating_point import IMAGE
from trainables.core.serving.operating_point import PATIENT as PATIENT_UNIT


@dataclass(frozen=True, eq=False)
class PatientSample(Sample):
    """Images of patients. Its metrics are those of the images and, with the prefix ``patient_``, of the patients.

    Attributes:
        image_sample: Class of the sample without patients.
        patients: (N,) int64 patient of each image.
        rule: Rule that combines a patient's images.
    """

    image_sample: ClassVar[type[Sample]] = Sample
    patients: NDArray[np.int64] = field(kw_only=True)
    rule: PatientRule = field(default_factory=PatientRule)

    @property
    def rules(self) -> tuple[PatientRule, ...]:
        """Rules to choose from, the default first."""
        return patient_rules(healthy_class(self.class_names, self.healthy))

    def combined_as(self, combination: Combination) -> Self:
        """Return the sample with the patient rule of an ensemble."""
        return replace(self, rule=combination.patients)

    @cached_property
    def by_image(self) -> Sample:
        """The images without their patients."""
        metric = self.metric.removeprefix(PATIENT)
        return self.image_sample(self.labels, self.groups, self.class_names, metric, self.healthy, self.ordered)

    @cached_property
    def by_patient(self) -> Sample:
        """The patients that have a label, one row each."""
        first = np.unique(self.patients, return_index=True)[1][self._labelled]
        return replace(self.by_image, labels=self.labels_of_patients[self._labelled], groups=self.groups[first])

    @cached_property
    def labels_of_patients(self) -> NDArray[np.int64]:
        """(P,) class of each patient, ``NO_LABEL`` without one; or (P, L) labels."""
        return patient_labels(self.labels, self.patients, healthy_class(self.class_names, self.healthy))

    @property
    def _labelled(self) -> Indices:
        return np.flatnonzero(label_sets(self.labels_of_patients) != NO_LABEL)

    def combined(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combine (N, C) probabilities of the images to those of the patients in ``by_patient``."""
        return self.rule.apply(probabilities, self.patients)[self._labelled]

    def scores(self, probabilities: Probabilities, needed: str | None = None) -> dict[str, float]:
        """Compute all metrics of (N, C) probabilities, or only ``needed``."""
        scores: dict[str, float] = {}
        if needed is None or not needed.startswith(PATIENT):
            scores |= self.by_image.scores(probabilities, needed)
        if (needed is None or needed.startswith(PATIENT)) and len(self._labelled):
            of_patients = self.by_patient.scores(self.combined(probabilities), needed and needed.removeprefix(PATIENT))
            scores |= {f"{PATIENT}{name}": value for name, value in of_patients.items()}
        return scores

    def at_level_of_metric(self, predictions: Sequence[Probabilities]) -> tuple[Sequence[Probabilities], Sample]:
        """Return predictions and their sample with one row per patient if the metric is one of patients."""
        if self.metric.startswith(PATIENT):
            return [self.combined(predicted) for predicted in predictions], self.by_patient
        return predictions, self.by_image

    def take(self, indices: Indices) -> Self:
        """Return the sample of these images. A repeated image is another image of its patient."""
        return replace(super().take(indices), patients=self.patients[indices])


def by_unit(
    probabilities: Probabilities, sample: Sample, rule: PatientRule
) -> list[tuple[str, NDArray[np.float32], Sample]]:
    """Return images and, where there are patients, patients: the unit, its probabilities as served, and the sample.

    Args:
        probabilities: (N, C) probabilities of the images.
        sample: The N images.
        rule: Rule that combines the images of a patient.
    """
    served = probabilities.astype(np.float32)
    if not isinstance(sample, PatientSample):
        return [(IMAGE, served, sample)]
    patients = replace(sample, rule=rule)
    of_patients = (PATIENT_UNIT, patients.combined(served).astype(np.float32), patients.by_patient)
    return [(IMAGE, served, sample.by_image), of_patients]
