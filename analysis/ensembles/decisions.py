"""Decisions from predictions: operating points and prediction sets."""

from dataclasses import dataclass, replace
from typing import Self

from analysis.ensembles.operating_points import ChosenPoint, disease_points
from analysis.ensembles.prediction_sets import calibrate_label_sets, calibrate_sets
from analysis.statistics.resampling import Probabilities, Sample
from analysis.statistics.thresholds import HIGHEST_YOUDEN, PointRule
from trainables.core.errors import UserError
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.prediction_sets import PredictionSets


@dataclass(frozen=True)
class DecisionRules:
    """Rules for decisions that the user chose; None for the defaults.

    Attributes:
        points: Rule that chooses operating points.
        coverage: Coverage that prediction sets promise, from 0.5 to 0.99.
    """

    points: PointRule | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: A value is not allowed.
        """
        if self.coverage is not None and not 0.5 <= self.coverage <= 0.99:
            raise UserError(f"--coverage must be between 0.5 and 0.99, but got {self.coverage:g}")

    def with_defaults(self, other: Self) -> Self:
        """Replace the rules that are None by other ones."""
        return replace(
            self,
            points=other.points if self.points is None else self.points,
            coverage=other.coverage if self.coverage is None else self.coverage,
        )


DEFAULT_DECISIONS = DecisionRules()


@dataclass(frozen=True)
class Decisions:
    """Operating points and prediction sets that were chosen on a sample.

    Attributes:
        points: Operating points, of images and of patients; empty without a healthy class.
        sets: Prediction sets of images and of patients; empty with too few groups.
        notes: Caveats.
    """

    points: tuple[ChosenPoint, ...]
    sets: tuple[PredictionSets, ...]
    notes: tuple[str, ...]


def decide(probabilities: Probabilities, sample: Sample, patients: PatientRule, rules: DecisionRules) -> Decisions:
    """Choose operating points and calibrate prediction sets.

    Args:
        probabilities: (N, C) probabilities by rules that were not fitted to these images.
        sample: The N images, each of one class.
        patients: Rule that combines the images of a patient.
        rules: Rules that the user chose.
    """
    points, notes = list[ChosenPoint](), list[str]()
    if sample.healthy is not None:
        points, notes = disease_points(probabilities, sample, rules.points or HIGHEST_YOUDEN, patients)
    elif len(sample.class_names) == 2 or rules.points is not None:
        notes = [
            "there is no operating point, and no sensitivity or specificity, because the data have no class that the "
            f"space names as healthy: set `healthy` to {' or '.join(sample.class_names)} in the space"
        ]
    sets, about_sets = calibrate_sets(probabilities, sample, patients, rules.coverage)
    return Decisions(tuple(points), tuple(sets), (*notes, *about_sets))


def decide_labels(
    probabilities: Probabilities, sample: Sample, patients: PatientRule, rules: DecisionRules
) -> Decisions:
    """Calibrate the prediction sets of labels, whose operating points the combination has.

    Args:
        probabilities: (N, L) probabilities by rules that were not fitted to these images.
        sample: The N images, each with any number of labels.
        patients: Rule that combines the images of a patient.
        rules: Rules that the user chose.
    """
    sets, notes = calibrate_label_sets(probabilities, sample, patients, rules.coverage)
    return Decisions((), tuple(sets), tuple(notes))
