"""Scores of subgroups, and tests whether they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.operating_points import score_point
from analysis.report.evaluation.inputs import Division, Subgroup
from analysis.statistics.external.subgroup_test import ScoreOfDraws, holm, subgroup_test
from analysis.statistics.intervals.model_scores import intervals
from analysis.statistics.resampling import GROUPS_FOR_INTERVAL, Probabilities, Sample, few_groups
from analysis.statistics.subgroup_names import in_order
from trainables.core.data.labels import membership
from trainables.core.metric_names import AVERAGES
from trainables.core.serving.operating_point import OperatingPoint

_OF_POINT = ("sensitivity", "specificity")


def divisions(
    names: Mapping[str, Sequence[str]], probabilities: Probabilities, sample: Sample, point: OperatingPoint | None
) -> tuple[Division, ...]:
    """Score the subgroups of each column by the sample's metric and at an operating point, and test the differences.

    A subgroup that lacks one of the sample's classes has no average over classes, since it would be over other ones.

    Args:
        names: Subgroup of each of N images, by column.
        probabilities: (N, K) predictions as the sample scores them.
        sample: The N images.
        point: Operating point of images, or None.
    """
    scores = _scores(probabilities, sample, point)
    found = [_division(column, of_images, scores, probabilities, sample, point) for column, of_images in names.items()]
    keys = [(place, metric) for place, division in enumerate(found) for metric in division.p_values]
    corrected = holm([found[place].p_values[metric] for place, metric in keys])
    by_key = dict(zip(keys, corrected, strict=True))
    return tuple(
        replace(division, corrected={metric: by_key[place, metric] for metric in division.p_values})
        for place, division in enumerate(found)
    )


def _division(
    column: str,
    of_images: Sequence[str],
    scores: Mapping[str, ScoreOfDraws],
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
        name: subgroup_test(score, subgroup_of, sample.group_of, sample.group_classes) for name, score in scores.items()
    }
    return Division(column, subgroups, {name: p_value for name, p_value in tested.items() if p_value is not None})


def _scores(probabilities: Probabilities, sample: Sample, point: OperatingPoint | None) -> dict[str, ScoreOfDraws]:
    """Return the scores that subgroups are compared by, from weights of the images."""
    kinds = _kinds(sample)

    def of_metric(draws: NDArray[np.int64]) -> NDArray[np.float64]:
        is_complete = (draws @ kinds > 0).all(axis=1)
        return np.where(is_complete, sample.resampled_score(probabilities, draws), np.nan)

    scores: dict[str, ScoreOfDraws] = {sample.metric: of_metric}
    if point is None:
        return scores
    called, positive = point.decide(probabilities), point.positives(sample.labels)

    def share(right: NDArray[np.bool_], counted: NDArray[np.bool_]) -> ScoreOfDraws:
        def of(draws: NDArray[np.int64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore"):
                return np.asarray((draws @ (right & counted)) / (draws @ counted.astype(np.int64)))

        return of

    shares = (share(called, positive), share(~called, ~positive))
    return scores | dict(zip(_OF_POINT, shares, strict=True))


def _kinds(sample: Sample) -> NDArray[np.int64]:
    """Return (N, K): 1 for the images of each kind that the metric averages over; K is 0 if it is no average.

    The kinds are the images of each class, or those with and without each label.
    """
    if sample.metric not in AVERAGES:
        return np.empty((len(sample.labels), 0), dtype=np.int64)
    has = membership(sample.labels, len(sample.class_names))
    kinds = np.hstack([has, ~has]) if sample.labels.ndim == 2 else has
    return kinds[:, kinds.any(axis=0)].astype(np.int64)


def _subgroup(
    name: str, rows: NDArray[np.int64], probabilities: Probabilities, sample: Sample, point: OperatingPoint | None
) -> Subgroup:
    part, predicted = sample.take(rows), probabilities[rows]
    is_complete = _kinds(sample)[rows].any(axis=0).all()
    metrics = {sample.metric: part.score(predicted) if is_complete else np.nan}
    enough = len(part.members) >= GROUPS_FOR_INTERVAL and not few_groups(part)
    bounds = intervals(predicted, part) if enough else {}
    if point is not None:
        at_point = score_point(point, predicted, part)
        metrics |= {metric: at_point.metrics().get(metric, np.nan) for metric in _OF_POINT}
        bounds = bounds | at_point.intervals
    scores = {metric: float(value) for metric, value in metrics.items() if np.isfinite(value)}
    return Subgroup(
        name, len(rows), len(part.members), scores, {metric: bounds[metric] for metric in scores if metric in bounds}
    )
