"""The choice of operating points, on images that trained neither the members nor the rule that combines them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.evaluation import PointScores
from analysis.statistics.cross_fitting import group_folds
from analysis.statistics.intervals.closed_forms import proportion_interval
from analysis.statistics.patients import by_unit
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities, Sample, sides
from analysis.statistics.thresholds import TOLERANCE, PointRule, choose_threshold, chosen_thresholds
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.operating_point import OperatingPoint, disease_point, reaches, shown_threshold

_RESAMPLES = 400


@dataclass(frozen=True)
class ChosenPoint:
    """An operating point and how well it is known.

    Attributes:
        point: The operating point.
        sensitivity: Share of the positives found on ``select``, each by a threshold chosen without its group; with too
            few groups for that, by the chosen threshold.
        specificity: The same for the negatives that were not called positive.
        held_out: True if there were enough groups for that.
        threshold_interval: 95% percentile interval of the threshold over resamples of whole groups.
        groups: Number of groups with a positive, and with a negative.
    """

    point: OperatingPoint
    sensitivity: float
    specificity: float
    held_out: bool
    threshold_interval: tuple[float, float]
    groups: tuple[int, int]

    def describe(self) -> str:
        """Return one line with the threshold, its interval, and what it reached."""
        low, high = map(shown_threshold, self.threshold_interval)
        chosen_on = "did not choose" if self.held_out else "chose"
        return (
            f"{self.point.describe()}, 95% interval of the threshold [{low}, {high}] from "
            f"{self.groups[0]} positive and {self.groups[1]} negative groups; sensitivity {self.sensitivity:.3f}, "
            f"specificity {self.specificity:.3f} on {self.point.unit}s that {chosen_on} it"
        )


def disease_points(
    probabilities: Probabilities, sample: Sample, rule: PointRule, patients: PatientRule
) -> tuple[list[ChosenPoint], list[str]]:
    """Choose the operating point of images and, where there are patients, that of patients.

    Args:
        probabilities: (N, C) probabilities by rules that were not fitted to these images.
        sample: The N images, with a healthy class.
        rule: Rule that chooses the thresholds.
        patients: Rule that combines the images of a patient.

    Returns:
        The points, and a note for each that cannot be chosen because one side is missing.
    """
    assert sample.healthy is not None
    points, notes = list[ChosenPoint](), list[str]()
    for unit, scored, of_unit in by_unit(probabilities, sample, patients):
        blank = disease_point(sample.class_names, sample.healthy, math.nan, str(rule), unit)
        positive = blank.positives(of_unit.labels)
        if positive.all() or not positive.any():
            alike = f"needs {unit}s with and without a disease, but all those it is chosen on are alike"
            notes.append(f"there is no operating point by {unit}: it {alike}")
            continue
        points.append(_choose(blank, scored, of_unit, rule))
        notes += _notes(points[-1], rule, points[-1].point.decide(scored), positive)
    return points, notes


def _choose(blank: OperatingPoint, probabilities: Probabilities, sample: Sample, rule: PointRule) -> ChosenPoint:
    scores, positive = blank.score(probabilities), blank.positives(sample.labels)
    draws = sample.resamples(_RESAMPLES)
    resampled = np.concatenate([chosen_thresholds(rule, scores, positive, drawn) for drawn in draws])
    low, high = np.quantile(resampled, (0.025, 0.975))
    folds = group_folds(sample)
    called = _held_out(rule, scores, positive, np.zeros(len(scores), dtype=np.int64) if folds is None else folds)
    return ChosenPoint(
        point=replace(blank, threshold=choose_threshold(rule, scores, positive)),
        sensitivity=float(called[positive].mean()),
        specificity=float(1 - called[~positive].mean()),
        held_out=folds is not None,
        threshold_interval=(float(low), float(high)),
        groups=sides(sample.groups, positive),
    )


def _held_out(
    rule: PointRule, scores: Probabilities, positive: NDArray[np.bool_], folds: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (N,) decisions, each by the threshold of all other folds; by that of all images if there is one fold."""
    called = np.zeros(len(scores), dtype=bool)
    for fold in np.unique(folds):
        others = (folds != fold) | (folds.max() == 0)
        called[folds == fold] = reaches(scores[folds == fold], choose_threshold(rule, scores[others], positive[others]))
    return called


def _notes(
    chosen: ChosenPoint, rule: PointRule, called: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> Iterator[str]:
    where = f"operating point by {chosen.point.unit} ({rule})"
    sensitivity, specificity = float(called[positive].mean()), float(1 - called[~positive].mean())
    if rule.kind == "specificity" and rule.value is not None and specificity < rule.value - TOLERANCE:
        yield f"{where}: no threshold reaches it; the chosen one has specificity {specificity:.3f}"
    if min(sensitivity, specificity) == 0:
        yield f"{where}: the threshold calls {'nothing' if sensitivity == 0 else 'everything'} positive"
    if min(chosen.groups) < GROUPS_FOR_INTERVAL:
        yield (
            f"{where}: it rests on {chosen.groups[0]} positive and {chosen.groups[1]} negative groups (fewer than "
            f"{GROUPS_FOR_INTERVAL}), so other patients may need another threshold"
        )


def score_point(point: OperatingPoint, probabilities: Probabilities, sample: Sample) -> PointScores:
    """Score the decisions at an operating point, with intervals that allow for groups (``proportion_interval``).

    Args:
        point: Operating point.
        probabilities: (N, C) probabilities of classes or labels.
        sample: The N images or patients.
    """
    called, positive = point.decide(probabilities), point.positives(sample.labels)
    cells = (positive & called, positive & ~called, ~positive & ~called, ~positive & called)
    found, missed, cleared, alarms = (int(cell.sum()) for cell in cells)
    scores = PointScores(point, (found, missed, cleared, alarms), sides(sample.groups, positive))
    if min(filter(None, scores.groups)) < GROUPS_FOR_INTERVAL:
        return scores
    counted = {"sensitivity": positive, "specificity": ~positive, "ppv": called, "npv": ~called}
    right = called == positive
    bounds = {name: proportion_interval(right[counted[name]], sample.groups[counted[name]]) for name in scores.shares()}
    return replace(scores, intervals=bounds)
