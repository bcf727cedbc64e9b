"""Calibration, decision curves and predictive values of external scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.ensembles.evaluation import Evaluation
from analysis.report.evaluation.inputs import AtPrevalence, Difference, Outcome, PointCurve
from analysis.statistics.calibration import binned, expected_calibration_error
from analysis.statistics.external.calibration_line import calibration_line
from analysis.statistics.external.net_benefit import decision_curve, predictive_values
from analysis.statistics.intervals.closed_forms import difference_interval
from analysis.statistics.resampling import Probabilities, Sample
from trainables.core.metric_names import AVERAGES, METRICS
from trainables.core.serving.operating_point import OperatingPoint

_THRESHOLDS = np.arange(1, 100) / 100
_BINS = 10


def outcomes_of(
    probabilities: Probabilities, sample: Sample, positive: int | None, prevalence: float | None
) -> tuple[Outcome, ...]:
    """Compare the probabilities of each class or label with the truth.

    Args:
        probabilities: (N, K) probabilities.
        sample: The N images.
        positive: The only class to show, if two classes exclude each other; None for all.
        prevalence: Share of positives that decision curves hold for, assumed for each label; None for that of the
            images. It must be None for all of several classes, which cannot all have the same share.
    """
    classes = range(len(sample.class_names)) if positive is None else (positive,)
    return tuple(_outcome(probabilities[:, label], sample, label, prevalence) for label in classes)


def _outcome(scores: NDArray[np.floating], sample: Sample, label: int, prevalence: float | None) -> Outcome:
    has = sample.has(label)
    bins = binned(scores, has, _BINS)
    mixed = bool(has.any() and not has.all())
    return Outcome(
        name=sample.class_names[label],
        positives=int(has.sum()),
        line=calibration_line(scores, has, sample) if mixed else None,
        reliability=bins,
        ece=expected_calibration_error(bins),
        curve=decision_curve(scores, has, _THRESHOLDS, prevalence, sample) if mixed else None,
    )


def curve_at_prevalence(
    probabilities: Probabilities, sample: Sample, point: OperatingPoint, prevalence: float
) -> PointCurve | None:
    """Return the decision curve of an operating point's positive at a prevalence; None if all images are alike.

    Args:
        probabilities: (N, C) probabilities.
        sample: The N images.
        point: Operating point, whose threshold does not matter.
        prevalence: Share of positives.
    """
    scores, positive = point.score(probabilities), point.positives(sample.labels)
    if positive.all() or not positive.any():
        return None
    return PointCurve(point.positive, decision_curve(scores, positive, _THRESHOLDS, prevalence, sample))


def at_prevalence(evaluation: Evaluation, prevalence: float) -> tuple[AtPrevalence, ...]:
    """Return the predictive values of all operating points at a prevalence."""
    found = []
    for scores in (scores for level in evaluation.levels().values() for scores in level.ensemble.points):
        metrics, bounds = scores.metrics(), scores.intervals
        if {"sensitivity", "specificity"} <= metrics.keys():
            shares = metrics["sensitivity"], metrics["specificity"]
            values = predictive_values(*shares, prevalence, bounds.get("sensitivity"), bounds.get("specificity"))
            found.append(AtPrevalence(scores.point.positive, scores.point.unit, *values))
    return tuple(found)


def differences(external: Evaluation, internal: Evaluation) -> tuple[Difference, ...]:
    """Return the differences between external and internal scores in all metrics that both have.

    If classes are absent from one of them only, averages over classes are left out, since they are over different ones.
    """
    pairs = [("", external, internal)]
    if external.patients and internal.patients:
        pairs.append(("patient_", external.patients, internal.patients))
    found = []
    for prefix, new, old in pairs:
        of_classes = [name for name in new.ensemble.metrics if "/" in name]
        comparable = new.ensemble.metrics.keys() & old.ensemble.metrics.keys()
        if set(new.absent) != set(old.absent):
            comparable -= AVERAGES
        for name in [*(metric.name for metric in METRICS), *of_classes]:
            if name in comparable:
                values = new.ensemble.metrics[name], old.ensemble.metrics[name]
                bounds = new.ensemble.intervals.get(name), old.ensemble.intervals.get(name)
                found.append(Difference(f"{prefix}{name}", *values, bounds[1], _interval(values, bounds)))
    return tuple(found)


def _interval(values: Sequence[float], bounds: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    one, other = bounds
    return None if one is None or other is None else difference_interval(values[0], one, values[1], other)
