"""Calibration of prediction sets on ``select``, and their scores and the risk of abstaining on ``test``."""

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.set_scores import Covered, LabelSetScores, SetScores
from analysis.statistics.conformal import fewest_groups, groups_to_promise, lowest_probability
from analysis.statistics.intervals.closed_forms import proportion_interval
from analysis.statistics.patients import by_unit
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities, Sample, sides
from trainables.core.serving.combining.patient_rule import PatientRule
from trainables.core.serving.prediction_sets import LabelSets, PredictionSets

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
    promised, needed = _promise(coverage)
    stated = f"{100 * promised:g}% coverage"
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
                f"prediction sets by {unit}: {stated} is promised on average over the classes, not for "
                f"each, because that needs {needed} groups of each class and the rarest has {fewest}"
            )
        else:
            notes.append(f"no prediction sets by {unit}: {stated} needs {needed} groups, but there are {groups}")
            continue
        found.append(PredictionSets(promised, tuple(thresholds), fewest >= needed, unit))
    return found, notes


def calibrate_label_sets(
    probabilities: Probabilities, sample: Sample, patients: PatientRule, coverage: float | None
) -> tuple[list[LabelSets], list[str]]:
    """Calibrate the prediction sets of labels, of images and, where there are patients, of patients.

    Each label is a question of its own. Its presence gets a threshold from the groups that have images with it, its
    absence one from the groups that have images without it. A label for which either are too few gets none.

    Args:
        probabilities: (N, L) probabilities by rules that were not fitted to these images.
        sample: The N images, with any number of labels.
        patients: Rule that combines the images of a patient.
        coverage: As for ``calibrate_sets``.

    Returns:
        The sets, and a note for each unit with labels of too few groups.
    """
    promised, needed = _promise(coverage)
    stated = f"{100 * promised:g}% coverage"
    found, notes = list[LabelSets](), list[str]()
    for unit, scored, of_unit in by_unit(probabilities, sample, patients):
        names, has = of_unit.class_names, of_unit.labels == 1
        counts = {name: sides(of_unit.groups, has[:, label]) for label, name in enumerate(names)}
        enough = np.array([min(both) >= needed for both in counts.values()])
        present = _of_truths(scored, has, of_unit.groups, promised)
        absent = _of_truths(1 - scored, ~has, of_unit.groups, promised)
        few = [f"{name} ({', '.join(map(str, both))})" for name, both in counts.items() if min(both) < needed]
        if few:
            notes.append(
                f"no prediction sets by {unit} for {', '.join(few)}: {stated} of a label needs {needed} "
                "groups with it and as many without it (in brackets: those there are)"
            )
        if enough.any():
            kept = (tuple(np.where(enough, one, 0.0).tolist()) for one in (present, absent))
            found.append(LabelSets(promised, next(kept), True, unit, next(kept)))
    return found, notes


def _promise(coverage: float | None) -> tuple[float, int]:
    """Return the coverage to promise, and the number of groups that it needs."""
    if coverage is None:
        return DEFAULT_COVERAGE, groups_to_promise(DEFAULT_COVERAGE)
    return coverage, fewest_groups(coverage)


def _of_truths(
    probabilities: NDArray[np.floating], truths: NDArray[np.bool_], groups: NDArray[np.int64], coverage: float
) -> list[float]:
    """Return L thresholds, each reached by the (N, L) probabilities of a truth in a share of new groups."""
    columns = zip(probabilities.T, truths.T, strict=True)
    return [lowest_probability(column[has], groups[has], coverage) for column, has in columns]


def score_sets(sets: PredictionSets, probabilities: Probabilities, sample: Sample) -> SetScores:
    """Score the sets of N images or patients with (N, C) probabilities."""
    contained = sets.contain(probabilities)
    covered, sizes = contained[np.arange(len(contained)), sample.labels], contained.sum(axis=1)
    risks = risk_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) == sample.labels)
    return SetScores(
        sets=sets,
        units=len(covered),
        covered=int(covered.sum()),
        interval=_interval(covered, sample.groups),
        by_class={
            name: _covered(covered[has], sample.groups[has])
            for name, has in ((name, sample.has(label)) for label, name in enumerate(sample.class_names))
            if has.any()
        },
        sizes=tuple(np.bincount(sizes, minlength=len(sample.class_names) + 1).tolist()),
        right_if_single=int((covered & (sizes == 1)).sum()),
        risk_area=float(risks.mean()),
    )


def score_label_sets(sets: LabelSets, probabilities: Probabilities, sample: Sample) -> LabelSetScores:
    """Score the sets of N images or patients with (N, L) probabilities."""
    present, absent = sets.contain(probabilities), sets.may_be_absent(probabilities)
    scores = LabelSetScores(sets, len(probabilities), {}, {}, {})
    for label in sets.calibrated.tolist():
        name, has, decided = sample.class_names[label], sample.has(label), present[:, label] != absent[:, label]
        scores.present[name] = _covered(present[has, label], sample.groups[has])
        scores.absent[name] = _covered(absent[~has, label], sample.groups[~has])
        scores.right[name] = int((present[:, label] == has)[decided].sum()), int(decided.sum())
    return scores


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


def _covered(outcomes: NDArray[np.bool_], groups: NDArray[np.int64]) -> Covered:
    return int(outcomes.sum()), len(outcomes), _interval(outcomes, groups)


def _interval(outcomes: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[float, float] | None:
    return proportion_interval(outcomes, groups) if len(np.unique(groups)) >= GROUPS_FOR_INTERVAL else None
