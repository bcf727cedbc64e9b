"""Calibration of prediction sets on ``select``, and their scores and the risk of abstaining on ``test``."""

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.evaluation import SetScores
from analysis.statistics.conformal import fewest_groups, groups_to_promise, lowest_probability
from analysis.statistics.patients import by_unit
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities, Sample
from analysis.statistics.score_intervals import proportion_interval
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.prediction_sets import PredictionSets

DEFAULT_COVERAGE = 0.9


def calibrate_sets(
    probabilities: Probabilities, sample: Sample, patients: PatientRule, coverage: float | None
) -> tuple[list[PredictionSets], list[str]]:
    """Calibrate the prediction sets of images and, where there are patients, of patients.

    Each class gets a threshold of its own if it has enough groups; otherwise all classes share one.

    Args:
        probabilities: (N, C) probabilities by rules that were not fitted to these images.
        sample: The N images.
        patients: Rule that combines the images of a patient.
        coverage: Coverage to promise, for which ``fewest_groups`` suffice; None for ``DEFAULT_COVERAGE`` with
            ``groups_to_promise``.

    Returns:
        The sets, and a note for each unit with too few groups.
    """
    promised = coverage or DEFAULT_COVERAGE
    needed = groups_to_promise(promised) if coverage is None else fewest_groups(promised)
    found, notes = list[PredictionSets](), list[str]()
    for unit, scored, of_unit in by_unit(probabilities, sample, patients):
        classes = range(len(of_unit.class_names))
        groups, fewest = len(of_unit.members), min(map(of_unit.groups_with, classes))
        true_class = scored[np.arange(len(scored)), of_unit.labels]
        if fewest >= needed:
            chosen = [of_unit.has(label) for label in classes]
            thresholds = [lowest_probability(true_class[has], of_unit.groups[has], promised) for has in chosen]
        elif groups >= needed:
            thresholds = [lowest_probability(true_class, of_unit.groups, promised)] * len(classes)
            notes.append(
                f"prediction sets by {unit}: {promised:.0%} coverage is promised on average over the classes, not for "
                f"each, because that needs {needed} groups of each class and the rarest has {fewest}"
            )
        else:
            notes.append(
                f"no prediction sets by {unit}: {promised:.0%} coverage needs {needed} groups, but there are {groups}"
            )
            continue
        found.append(PredictionSets(promised, tuple(thresholds), fewest >= needed, unit))
    return found, notes


def score_sets(sets: PredictionSets, probabilities: Probabilities, sample: Sample) -> SetScores:
    """Score the sets of N images or patients with (N, C) probabilities."""
    contained = sets.contain(probabilities)
    covered, sizes = contained[np.arange(len(contained)), sample.labels], contained.sum(axis=1)
    right = probabilities.argmax(axis=1) == sample.labels
    single = sizes == 1
    risks = risk_coverage(probabilities.max(axis=1), right)
    return SetScores(
        sets=sets,
        units=len(covered),
        covered=int(covered.sum()),
        interval=_interval(covered, sample.groups),
        by_class={
            name: (int(covered[has].sum()), int(has.sum()), _interval(covered[has], sample.groups[has]))
            for name, has in ((name, sample.has(label)) for label, name in enumerate(sample.class_names))
            if has.any()
        },
        sizes=tuple(np.bincount(sizes, minlength=len(sample.class_names) + 1).tolist()),
        right_if_single=int((right & single).sum()),
        risk_area=float(risks.mean()),
    )


def risk_coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the (N,) error rates among the 1, 2, ..., N most confident predictions (El-Yaniv and Wiener 2010).

    Predictions of equal confidence are accepted together, so each gets the error rate after the last of them. The mean
    is the area under the risk-coverage curve (AURC; Geifman and El-Yaniv 2017).

    Args:
        confidence: (N,) confidence, such as the highest probability.
        right: (N,) True for right predictions.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    risks = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    last = np.searchsorted(-falling, -falling, side="right") - 1
    return np.asarray(risks[last])


def _interval(outcomes: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[float, float] | None:
    return proportion_interval(outcomes, groups) if len(np.unique(groups)) >= GROUPS_FOR_INTERVAL else None
