"""Scores of two models on the same images, and their differences, on the console."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analysis.statistics.paired_difference import Difference, paired_differences
from analysis.statistics.resampling import Sample, permutation_test
from trainables.core.metric_names import METRICS, PATIENT, is_better
from tuning.console import say


def show_differences(
    models: Sequence[Mapping[str, tuple[NDArray[Any], Sample]]], metric: str, console: Console
) -> None:
    """Print the scores of two models and their differences, by image and, if both have patients, by patient.

    Args:
        models: Predictions and sample of each model by unit, as ``TaskResults.by_unit`` returns them.
        metric: Metric that leads.
        console: Console to print to.
    """
    first, second = models
    for unit, (predictions, sample) in first.items():
        if unit in second:
            _show(unit, (predictions, second[unit][0]), sample, metric, console)


def _show(
    unit: str, predictions: tuple[NDArray[Any], NDArray[Any]], sample: Sample, metric: str, console: Console
) -> None:
    differences = paired_differences(*predictions, sample)
    table = Table("metric", title=f"By {unit}: {len(sample.labels)} in {len(sample.members)} groups")
    for heading in ("A", "B", "B - A [95%]"):
        table.add_column(heading, justify="right")
    for each in METRICS:
        if each.name in differences:
            one = differences[each.name]
            table.add_row(each.label, f"{one.first:.4f}", f"{one.second:.4f}", one.describe())
    console.print(table)
    if metric.removeprefix(PATIENT) in differences and metric.startswith(PATIENT) == (unit == "patient"):
        if np.array_equal(*predictions):
            say(console, "Both give the same predictions.")
        else:
            p_value = permutation_test(*predictions, sample)
            say(console, verdict(metric, differences[metric.removeprefix(PATIENT)], p_value))


def verdict(metric: str, difference: Difference, p_value: float | None) -> str:
    """Return one sentence on whether a difference is more than chance."""
    tested = "" if p_value is None else f" (permutation test of whole groups: p = {p_value:.3f})"
    if difference.interval is None:
        return f"The difference in {metric} has no interval: there are too few groups{tested}."
    low, high = difference.interval
    if low <= 0 <= high:
        return f"These images do not show which has the better {metric}: the interval includes 0{tested}."
    better = "B" if is_better(metric, difference.second, difference.first) else "A"
    return f"{better} has the better {metric}: the interval of the difference excludes 0{tested}."
