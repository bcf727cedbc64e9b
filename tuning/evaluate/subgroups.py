"""Scores of subgroups, and tests whether they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.operating_points import score_point
from analysis.report.evaluation.inputs import Division, Subgroup
from analysis.statistics.external.differences import Figure, holm, subgroup_test
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities, Sample
from analysis.statistics.subgroup_names import in_order
from trainables.core.serving.operating_point import OperatingPoint

_OF_POINT = ("sensitivity", "specificity")


def divisions(
    names: Mapping[str, Sequence[str]], probabilities: Probabilities, sample: Sample, point: OperatingPoint | None
) -> tuple[Division, ...]:
    """Score the subgroups of each column by the sample's metric and at an operating point, and test the differences.

    Args:
        names: Subgroup of each of N images, by column.
        probabilities: (N, K) predictions as the sample scores them.
        sample: The N images.
        point: Operating point of images, or None.
    """
    figures = _figures(probabilities, sample, point)
    found = [_division(column, of_images, figures, probabilities, sample, point) for column, of_images in names.items()]
    keys = [(place, figure) for place, division in enumerate(found) for figure in division.p_values]
    corrected = holm([found[place].p_values[figure] for place, figure in keys])
    by_key = dict(zip(keys, corrected, strict=True))
    return tuple(
        replace(division, corrected={figure: by_key[place, figure] for figure in division.p_values})
        for place, division in enumerate(found)
    )


def _division(
    column: str,
    of_images: Sequence[str],
    figures: Mapping[str, Figure],
    probabilities: Probabilities,
    sample: Sample,
    point: OperatingPoint | None,
) -> Division:
    values = in_order(of_images)
    subgroup_of = np.array([values.index(value) for value in of_images])
    subgroups = tuple(
        _subgroup(value, np.flatnonzero(subgroup_of == place), probabilities, sample, point)
        for place, value in enumerate(values)
    )
    tested = {
        name: subgroup_test(figure, subgroup_of, sample.group_of, sample.group_classes)
        for name, figure in figures.items()
    }
    return Division(column, subgroups, {name: p_value for name, p_value in tested.items() if p_value is not None})


def _figures(probabilities: Probabilities, sample: Sample, point: OperatingPoint | None) -> dict[str, Figure]:
    """Return the scores that subgroups are compared by, from weights of the images."""
    figures: dict[str, Figure] = {sample.metric: lambda draws: sample.resampled_score(probabilities, draws)}
    if point is None:
        return figures
    called, positive = point.decide(probabilities), point.positives(sample.labels)

    def share(right: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Figure:
        def of(draws: NDArray[np.int64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore"):
                return np.asarray((draws @ (right & counted)) / (draws @ counted.astype(np.int64)))

        return of

    shares = (share(called, positive), share(~called, ~positive))
    return figures | dict(zip(_OF_POINT, shares, strict=True))


def _subgroup(
    name: str, rows: NDArray[np.int64], probabilities: Probabilities, sample: Sample, point: OperatingPoint | None
) -> Subgroup:
    part, predicted = sample.take(rows), probabilities[rows]
    metrics = {sample.metric: part.score(predicted)}
    bounds = intervals(predicted, part) if len(part.members) >= GROUPS_FOR_INTERVAL else {}
    if point is not None:
        at_point = score_point(point, predicted, part)
        metrics |= {figure: at_point.metrics().get(figure, np.nan) for figure in _OF_POINT}
        bounds = bounds | at_point.intervals
    figures = {figure: float(value) for figure, value in metrics.items() if np.isfinite(value)}
    return Subgroup(
        name, len(rows), len(part.members), figures, {figure: bounds[figure] for figure in figures if figure in bounds}
    )
