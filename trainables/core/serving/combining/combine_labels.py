"""Rules that combine the members' probabilities of independent labels, and the thresholds that decide on each label."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainables.core.serving.combining.combine import MIN_PROBABILITY, Combination, Probabilities
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import IMAGE, PATIENT, OperatingPoint, reaches
from trainables.core.serving.prediction_sets import LabelSets, PredictionSets

ANY_IMAGE = PatientRule("max")  # of decisions: those that were made for any image of a patient


@dataclass(frozen=True)
class LabelCombination(Combination):
    """Fitted rule that combines (M, N, L) probabilities of M members to (N, L), each label by itself.

    Attributes:
        kind: ``mean``: weighted arithmetic mean. ``geometric mean``: weighted mean of the log odds.
        label_temperatures: (M, L) temperatures T. Log odds are first divided by them (Guo et al. 2017).
        thresholds: (L,) probabilities from which the combined members assign a label.
        member_thresholds: (M, L) those from which each member does.
        threshold_rule: Rule that chose the thresholds.
        patient_thresholds: (L,) probabilities of a patient from which the combined members assign a label; empty
            without patients, and in models of earlier versions.
        patient_member_thresholds: (M, L) those from which each member does.
    """

    sets_kind: ClassVar[type[PredictionSets]] = LabelSets
    label_temperatures: tuple[tuple[float, ...], ...] = ()
    thresholds: tuple[float, ...] = ()
    member_thresholds: tuple[tuple[float, ...], ...] = ()
    threshold_rule: str = "f1"
    patient_thresholds: tuple[float, ...] = ()
    patient_member_thresholds: tuple[tuple[float, ...], ...] = ()

    def apply(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Combine (M, N, L) probabilities to (N, L)."""
        if len(probabilities) != len(self.weights):
            raise ValueError(f"predictions must be of {len(self.weights)} members, but got {len(probabilities)}")
        tempered = temper_labels(probabilities, self.label_temperatures)
        if self.kind == "mean":
            return np.asarray(np.tensordot(np.array(self.weights), tempered, axes=1))
        return _expit(np.tensordot(np.array(self.weights), _logit(tempered), axes=1))

    def decide(self, probabilities: Probabilities) -> NDArray[np.bool_]:
        """Return (N, L) True where combined probabilities reach the threshold of their label."""
        return reaches(probabilities, self.thresholds)

    def decide_patients(
        self, probabilities: Probabilities, combined: Probabilities, patients: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (P, L) True where a label is assigned to a patient.

        Without thresholds of patients, these are the labels that are assigned to any of the images.

        Args:
            probabilities: (N, L) probabilities of the images.
            combined: (P, L) probabilities of the patients, by ``patients.apply``.
            patients: (N,) patient of each image.
        """
        if self.patient_thresholds:
            return reaches(combined, self.patient_thresholds)
        return ANY_IMAGE.apply(self.decide(probabilities).astype(np.float32), patients) > 0

    def thresholds_of(self, unit: str) -> tuple[float, ...]:
        """Return the (L,) thresholds of images or patients; empty if a patient has the labels of any image."""
        return self.patient_thresholds if unit == PATIENT else self.thresholds

    def decides_on(self, unit: str) -> bool:
        """Return True if there are thresholds or prediction sets of ``image`` or ``patient``."""
        return bool(self.thresholds_of(unit)) or super().decides_on(unit)

    def operating_points(self, class_names: Sequence[str]) -> tuple[OperatingPoint, ...]:
        """Return the thresholds of each label as operating points of images, then of patients if there are any."""
        return tuple(
            OperatingPoint(class_names[label], label, False, threshold, self.threshold_rule, unit)
            for unit in (IMAGE, PATIENT)
            for label, threshold in enumerate(self.thresholds_of(unit))
        )

    def scorable(self, probabilities: Probabilities) -> NDArray[np.float64]:
        """Return (N, 2L): the combined probabilities of the labels, then the decisions, 0 or 1."""
        combined = self.apply(probabilities)
        return np.hstack([combined, self.decide(combined)])

    def of_member(self, position: int) -> "LabelCombination":
        """Return the combination that makes one of the members, with its thresholds, an ensemble of its own."""
        of_patients = self.patient_member_thresholds[position] if self.patient_member_thresholds else ()
        return self._of_one(self.member_thresholds[position], of_patients)

    def of_combined(self, columns: NDArray[np.int64]) -> "LabelCombination":
        """Return the combination that leaves (1, N, K) combined predictions as they are, with the same thresholds.

        Args:
            columns: (K,) labels of the predictions.
        """
        kept = columns.tolist()
        of_patients = tuple(self.patient_thresholds[column] for column in kept) if self.patient_thresholds else ()
        combination = self._of_one(tuple(self.thresholds[column] for column in kept), of_patients)
        sets = (one.of_labels(kept) for one in self.sets if isinstance(one, LabelSets))
        return dataclasses.replace(combination, sets=tuple(one for one in sets if len(one.calibrated)))

    def _of_one(self, thresholds: tuple[float, ...], of_patients: tuple[float, ...]) -> "LabelCombination":
        """Return the combination of a single member with (K,) thresholds of images and, if known, of patients."""
        plain = ((1.0,) * len(thresholds),)
        return LabelCombination(
            "mean",
            (1.0,),
            (1.0,),
            label_temperatures=plain,
            thresholds=thresholds,
            member_thresholds=(thresholds,),
            threshold_rule=self.threshold_rule,
            patients=self.patients,
            patient_thresholds=of_patients,
            patient_member_thresholds=(of_patients,) if of_patients else (),
        )

    def of_voters(self) -> Self:
        """Return the same combination without the members that have no vote."""
        voters = self.voters()
        return dataclasses.replace(
            super().of_voters(),
            label_temperatures=tuple(self.label_temperatures[member] for member in voters),
            member_thresholds=tuple(self.member_thresholds[member] for member in voters),
            patient_member_thresholds=tuple(self.patient_member_thresholds[member] for member in voters)
            if self.patient_member_thresholds
            else (),
        )

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Parse the result of ``to_dict``, as it is or read back from JSON."""
        return dataclasses.replace(
            super().from_dict(raw),
            label_temperatures=tuple(map(tuple, raw["label_temperatures"])),
            thresholds=tuple(raw["thresholds"]),
            member_thresholds=tuple(map(tuple, raw["member_thresholds"])),
            threshold_rule=raw.get("threshold_rule", "f1"),  # the only one of earlier versions
            patient_thresholds=tuple(raw.get("patient_thresholds", ())),
            patient_member_thresholds=tuple(map(tuple, raw.get("patient_member_thresholds", ()))),
        )


def temper_labels(probabilities: Probabilities, temperatures: ArrayLike) -> NDArray[np.float64]:
    """Apply (M, L) temperatures to (M, N, L) probabilities: above 1 moves them towards 0.5, below 1 away from it."""
    wide = np.asarray(probabilities, dtype=np.float64)
    scale = np.asarray(temperatures)
    return wide if (scale == 1).all() else _expit(_logit(wide) / scale[:, None, :])


def _logit(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    odds: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return odds


def _expit(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))
