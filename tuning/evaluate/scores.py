"""Metrics of an external evaluation, computed from the predictions for its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.report.evaluation.inputs import Copies, ExternalResult, Outcome, PointCurve, Recalibrated
from analysis.statistics.external.recalibration import part_for_fitting, recalibrated_classes, recalibrated_labels
from trainables.core.errors import UserError
from trainables.core.metric_names import PATIENT
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.operating_point import IMAGE
from tuning.evaluate.data.external_data import ExternalData, ExternalDataRequest
from tuning.evaluate.log_run import Log
from tuning.evaluate.outcomes import at_prevalence, curve_at_prevalence, differences, outcomes_of
from tuning.evaluate.score_source import SourceScores
from tuning.evaluate.scored import Scored
from tuning.evaluate.shift import shift_of
from tuning.evaluate.subgroups import divisions

_NO_POINT = (
    "the model has no operating point, so there is no sensitivity or specificity: name the healthy class in the space, "
    "and register the ensemble again with tune-ensemble SEARCH --register"
)
_NO_PREVALENCE = (
    "--prevalence was not applied: of several classes, it is the share of what an operating point calls positive, but "
    "the model has none. The decision curves hold for the shares of the classes among these images"
)
_NO_POINT_OF_MEMBER = (
    "the model is a member of an ensemble, so it has no operating point, and there is no sensitivity or specificity: "
    "evaluate the ensemble for these"
)


@dataclass(frozen=True)
class Request:
    """Scores to compute.

    Attributes:
        model: The model as the user named it.
        digest: SHA-256 of its files.
        log: Its place in MLflow.
        subgroups: Subgroup of each image of the source, by column.
        prevalence: Share of positives where the model will be used, or None.
        recalibrate: Share of the groups to fit a recalibration to, or None.
        copies: Copies that were left out.
        data: Place of the images, and where their labels and groups are.
    """

    model: str
    digest: str
    log: Log
    subgroups: Mapping[str, Sequence[str]]
    prevalence: float | None
    recalibrate: float | None
    copies: Copies
    data: ExternalDataRequest


def evaluate_scores(
    external: ExternalData, scores: SourceScores, ensemble: Ensemble, request: Request
) -> ExternalResult:
    """Compute all metrics.

    Args:
        external: The images; its ``test`` has those that were scored.
        scores: Their predictions.
        ensemble: The model.
        request: Metrics to compute.

    Raises:
        UserError: There are too few groups for a recalibration.
    """
    scored = Scored.of(external, scores.predictions, ensemble, request.log.origin.metadata)
    combination, recalibrated = scored.combination, None
    if request.recalibrate is not None:
        scored, recalibrated = _recalibrated(scored, request)
    evaluation = scored.evaluation(scored.predictions)
    metric = scored.metric if evaluation.patients else scored.metric.removeprefix(PATIENT)
    predictions, sample = scored.by_image()
    has_probabilities = scored.task.has_probabilities
    no_point = _NO_POINT_OF_MEMBER if "trial" in request.log.origin.metadata else _NO_POINT
    not_applied = request.prevalence is not None and _of_classes(scored) and combination.point_of(IMAGE) is None
    data, rows = scored.data.data, scored.data.data.splits["test"]
    internal, earlier = request.log.internal(), request.log.earlier(request.digest, data.fingerprint, external.images)
    names = {column: [values[row] for row in rows] for column, values in request.subgroups.items()}
    bad = {reason: sum(other == reason for other in external.bad.values()) for reason in external.bad.values()}
    left_out = {**bad, **({"could not be scored": len(scores.errors)} if scores.errors else {})}
    return ExternalResult(
        model=request.log.model or request.model,
        digest=request.digest,
        place=data.place,
        fingerprint=data.fingerprint,
        image_fingerprint=external.images,
        metric=metric,
        class_names=data.class_names,
        images=len(rows),
        evaluation=evaluation,
        outcomes=_outcomes(scored, request.prevalence),
        prevalence=request.prevalence,
        at_prevalence=() if request.prevalence is None else at_prevalence(evaluation, request.prevalence),
        divisions=divisions(names, predictions, sample, combination.point_of(IMAGE)),
        differences=() if internal is None else differences(evaluation, internal),
        shift=shift_of(scored.data, scores, ensemble),
        copies=request.copies,
        left_out=left_out,
        recalibrated=recalibrated,
        earlier=earlier,
        notes=(
            *data.notes,
            *evaluation.caveats(),
            *([no_point] if has_probabilities and not evaluation.ensemble.points else []),
            *([_NO_PREVALENCE] if not_applied else []),
            *([_by_image(scored, metric)] if metric != scored.metric else []),
        ),
        request=request.data.to_json(),
        own_size=None if scores.own_size is None else scored.evaluation(scores.own_size),
        curve_at_prevalence=_curve_at_prevalence(scored, request.prevalence),
    )


def _by_image(scored: Scored, metric: str) -> str:
    """Say why the metric of images leads, although one of patients chose the model."""
    if not scored.data.source.groups_given:
        why = "DATA does not say which images are of one patient (see --group-column, --group-pattern and --groups)"
    elif scored.data.data.patients is None:
        why = "each patient has one image"
    else:
        why = "no patient has a label, because the images of each differ in class"
    return f"the model was chosen by {scored.metric}, but {why}, so {metric} leads, and nothing is scored by patient"


def _outcomes(scored: Scored, prevalence: float | None) -> tuple[Outcome, ...]:
    if not scored.task.has_probabilities:
        return ()
    of_outcomes = None if _of_classes(scored) else prevalence
    return outcomes_of(scored.predictions, scored.by_image()[1], _positive(scored), of_outcomes)


def _curve_at_prevalence(scored: Scored, prevalence: float | None) -> PointCurve | None:
    """Return the decision curve of the operating point's positive, if there are more than two classes."""
    point = scored.combination.point_of(IMAGE)
    if prevalence is None or point is None or not _of_classes(scored):
        return None
    return curve_at_prevalence(scored.predictions, scored.by_image()[1], point, prevalence)


def _of_classes(scored: Scored) -> bool:
    """Return True if more than two classes exclude each other, so that a prevalence is not that of each."""
    data = scored.data.data
    return scored.task.has_probabilities and data.labels.ndim == 1 and len(data.class_names) > 2


def _positive(scored: Scored) -> int | None:
    """Return the class to show of two that exclude each other, which is not the healthy one; None to show all."""
    data = scored.data.data
    if data.labels.ndim == 2 or len(data.class_names) != 2:
        return None
    return 0 if data.healthy == data.class_names[1] else 1


def _recalibrated(scored: Scored, request: Request) -> tuple[Scored, Recalibrated]:
    """Fit a recalibration to a share of the groups; return the other images, and their scores after it.

    Raises:
        UserError: The share has no group of a class, or leaves none.
    """
    share = request.recalibrate
    assert share is not None
    sample = scored.by_image()[1]
    fitted = part_for_fitting(sample, share)
    classes = [sample.has(label) for label in range(len(sample.class_names)) if sample.has(label).any()]
    if any(not (has & fitted).any() or not (has & ~fitted).any() for has in classes):
        raise UserError(
            f"--recalibrate must leave groups of each class on both sides, but {share:g} of "
            f"{len(sample.members)} groups does not: give another share"
        )
    part, rest = scored.part(fitted), scored.part(~fitted)
    labels = part.by_image()[1].labels
    fit = recalibrated_classes if labels.ndim == 1 else recalibrated_labels
    found = fit(part.predictions, labels)
    after = replace(rest, predictions=found.apply(rest.predictions).astype(np.float32))
    evaluation, outcomes = after.evaluation(after.predictions), _outcomes(after, request.prevalence)
    return rest, Recalibrated(share, int(fitted.sum()), found.temperatures, found.biases, evaluation, outcomes)
