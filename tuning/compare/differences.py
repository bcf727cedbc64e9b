"""Scores of two models on the same images, and their differences, on the console."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.tasks.base import TaskResults
from analysis.statistics.paired_difference import Difference, paired_differences, share_difference
from analysis.statistics.patients import PatientSample
from analysis.statistics.resampling import Sample, permutation_test
from trainables.core.data.labels import membership
from trainables.core.data.source import numbered
from trainables.core.metric_names import METRICS, PATIENT, is_better
from trainables.core.plural import plural
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.operating_point import IMAGE, OperatingPoint, shown_threshold
from trainables.core.serving.operating_point import PATIENT as PATIENT_UNIT
from tuning.console import say


@dataclass(frozen=True, eq=False)
class Decided:
    """Decisions of a model at one of its operating points.

    Attributes:
        point: Operating point.
        called: (N,) True where the model calls an image, or a patient, positive.
        positive: (N,) truth.
        groups: (N,) groups.
    """

    point: OperatingPoint
    called: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    groups: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Compared:
    """A model on the images of a comparison.

    Attributes:
        by_unit: Predictions as they are scored, and their sample, by unit (``TaskResults.by_unit``).
        decided: Decisions at the operating points, by unit and name of what is positive.
        patients: (N,) patient of each image, numbered in the order of their first images; None without patients.
        patient_classes: (P, C) True for the classes of each patient, in the order of their names; False for a patient
            without a label.
    """

    by_unit: Mapping[str, tuple[NDArray[Any], Sample]]
    decided: Mapping[tuple[str, str], Decided]
    patients: NDArray[np.int64] | None = None
    patient_classes: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, task: TaskResults, combined: NDArray[Any], combination: Combination, sample: Sample) -> Self:
        """Return a model's predictions and decisions.

        Args:
            task: Results object of the task.
            combined: The ensemble's predictions, as the sample scores them.
            combination: Fitted rule of the ensemble, with its operating points.
            sample: The images.
        """
        patients: NDArray[np.int64] | None = None
        classes: NDArray[np.bool_] | None = None
        if isinstance(sample, PatientSample):  # numbered alike, so that equal patients of two models are in one order
            patients = numbered(sample.patients.tolist())
            sample = replace(sample, patients=patients)
            of_patients = membership(sample.labels_of_patients, len(sample.class_names))
            classes = of_patients[:, np.argsort(sample.class_names)]
        served = task.served(combined, combination, sample)
        decided = {}
        for point in combination.operating_points(sample.class_names):
            if point.unit in served:
                predictions, of_unit = served[point.unit]
                positive = point.positives(of_unit.labels)
                decided[point.unit, point.positive] = Decided(
                    point, point.decide(predictions), positive, of_unit.groups
                )
        scored = task.by_unit(combined, combination, sample).items()
        # of a few images, no patient may have a label
        return cls({unit: one for unit, one in scored if len(one[1].labels)}, decided, patients, classes)


def show_differences(models: Sequence[Compared], metric: str, console: Console) -> list[str]:
    """Print the scores of two models and their differences, by image and, if both have the same patients, by patient.

    Args:
        models: The two models, whose predictions have the same columns.
        metric: Metric that leads. If it is one of patients and these cannot be compared, it leads by image.
        console: Console to print to.

    Returns:
        Notes on what is left out, and on classes of few groups.
    """
    first, second = models
    left_out = why_not_by_patient(first, second)
    units = [unit for unit in first.by_unit if unit in second.by_unit and not (left_out and unit == PATIENT_UNIT)]
    leading = metric if PATIENT_UNIT in units else metric.removeprefix(PATIENT)
    for unit in units:
        predictions, sample = first.by_unit[unit]
        _show(unit, (predictions, second.by_unit[unit][0]), sample, leading, console)
        _show_decisions(unit, first, second, console)
    caveats = _caveats({unit: first.by_unit[unit][1] for unit in units})
    return [left_out, *caveats] if left_out else caveats


def _caveats(samples: Mapping[str, Sample]) -> list[str]:
    levels = {unit: Evaluation.of(Scores({}, {}), sample) for unit, sample in samples.items()}
    return replace(levels[IMAGE], patients=levels.get(PATIENT_UNIT)).caveats()


def why_not_by_patient(first: Compared, second: Compared) -> str | None:
    """Say why A and B have no patients to compare; None if they have, or if neither has patients.

    Patients must be the same images with the same labels. Their labels depend on the healthy class, too.
    """
    known = [PATIENT_UNIT in model.by_unit for model in (first, second)]
    if not all(known):
        return f"only {'AB'[known.index(True)]} has patients to score, so nothing is by patient" if any(known) else None
    assert first.patients is not None and first.patient_classes is not None
    assert second.patients is not None and second.patient_classes is not None
    if not np.array_equal(first.patients, second.patients):
        return "A and B divide these images into different patients, so nothing is by patient"
    others = int((first.patient_classes != second.patient_classes).any(axis=1).sum())
    if not others:
        return None
    return (
        f"A and B have different healthy classes, by which {plural(others, 'patient has', 'patients have')} different "
        "labels, so nothing is by patient"
    )


def _show(
    unit: str, predictions: tuple[NDArray[Any], NDArray[Any]], sample: Sample, metric: str, console: Console
) -> None:
    differences = paired_differences(*predictions, sample)
    table = _table("metric", f"By {unit}: {len(sample.labels)} in {plural(len(sample.members), 'group')}")
    mark = Evaluation.of(Scores({}, {}), sample).mark
    for each in METRICS:
        if each.name in differences:
            one = differences[each.name]
            marked = mark if one.interval else ""
            table.add_row(each.label, f"{one.first:.4f}", f"{one.second:.4f}", f"{one.describe()}{marked}")
    console.print(table)
    if metric.removeprefix(PATIENT) in differences and metric.startswith(PATIENT) == (unit == "patient"):
        if np.array_equal(*predictions):
            say(console, "Both give the same predictions.")
        else:
            p_value = permutation_test(*predictions, sample)
            say(console, verdict(metric, differences[metric.removeprefix(PATIENT)], p_value))


def _show_decisions(unit: str, first: Compared, second: Compared, console: Console) -> None:
    """Print how well both models decide at their own thresholds, for what both call positive."""
    shared = [key for key in first.decided if key in second.decided and key[0] == unit]
    if not shared:
        return
    table = _table("metric", f"By {unit}, each model at its own threshold")
    for key in shared:
        one, other = first.decided[key], second.decided[key]
        thresholds = (shown_threshold(each.point.threshold) for each in (one, other))
        table.add_row(f"threshold for {escape(key[1])}", *thresholds, "")
        for name, difference in decision_differences(one, other):
            table.add_row(name, f"{difference.first:.4f}", f"{difference.second:.4f}", difference.describe())
    console.print(table)


def decision_differences(one: Decided, other: Decided) -> Iterator[tuple[str, Difference]]:
    """Yield the sensitivity and the specificity of two models on the same images, as far as they are defined."""
    for name, side in (("sensitivity", one.positive), ("specificity", ~one.positive)):
        if side.any():
            first, second = ((model.called == model.positive)[side] for model in (one, other))
            yield name, share_difference(first, second, one.groups[side])


def _table(first: str, title: str) -> Table:
    table = Table(first, title=title)
    for heading in ("A", "B", "B - A [95%]"):
        table.add_column(heading, justify="right")
    return table


def verdict(metric: str, difference: Difference, p_value: float | None) -> str:
    """Return one sentence on whether a difference is more than chance."""
    tested = "" if p_value is None else f" (permutation test of whole groups: p = {p_value:.2g})"
    if difference.interval is None:
        return f"The difference in {metric} has no interval: there are too few groups{tested}."
    low, high = difference.interval
    if low <= 0 <= high:
        return f"These images do not show which has the better {metric}: the interval includes 0{tested}."
    better = "B" if is_better(metric, difference.second, difference.first) else "A"
    return f"{better} has the better {metric}: the interval of the difference excludes 0{tested}."
