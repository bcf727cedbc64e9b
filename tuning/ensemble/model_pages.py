"""What a finished search leaves on MLflow's pages beyond its figures: members that load alone, and the model's card."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.registry import Registered, describe, log_member
from analysis.registry.model_card import CardMember, ModelCard
from analysis.trials import network_of
from trainables.core.data.dataset import Dataset
from trainables.worker.checkpoint_io import read_models
from tuning.tracking.outbox import Tracker

if TYPE_CHECKING:
    from tuning.ensemble.build import Result


def log_members(result: "Result", data: Dataset, tracker: Tracker) -> None:
    """Makes each of the top k loadable from its own run as ``runs:/<its run id>/model``; safe to repeat."""
    roi = data.regions.model if data.regions else None
    tracker.flush()  # their runs must be there
    for record in result.built.members:
        if record.best:
            metadata = {"data_fingerprint": data.fingerprint, "trial": record.number, "notes": list(data.notes)}
            models = read_models(record.best.checkpoint)
            log_member(tracker.uri, tracker.child_id(record.number), models, record.best, metadata, roi)


def write_pages(
    search: str, result: "Result", registered: Registered, data: Dataset, tracker: Tracker, model_name: str
) -> None:
    """Writes the model's card onto its pages, and its short form onto the parent run's; safe to repeat."""
    comparison = result.built.comparison
    card = ModelCard(
        name=model_name,
        search=search,
        alias=registered.alias,
        reason=registered.reason,
        experiment_id=tracker.experiment_id,
        rule=comparison.chosen,
        metric=comparison.metric,
        select=comparison.score,
        test=result.evaluation.ensemble.metrics,
        openings=result.openings.describe(),
        test_split=data.test_told,
        leak=data.leak or "",
        data=data.place,
        fingerprint=data.fingerprint,
        class_names=data.image_classes,
        splits=_counts(data),
        notes=data.notes,
        members=_members(result, tracker),
        chosen_on=(result.built.prefix, result.built.where),
        tuned=result.built.tuned.told(comparison.metric) if result.built.tuned else "",
    )
    describe(tracker.uri, registered.version, card)
    columns = columns_of(comparison.metric, result.built.prefix, bool(data.mask_format))
    tracker.describe_parent(card.summary(registered.version), columns)


def columns_of(metric: str, prefix: str, masks: bool) -> list[str]:
    """What trials are sorted by, in the order in which one asks: of a segmentation, or of a classification."""
    beside = ("iou",) if masks else ("balanced_accuracy", "macro_f1")
    params = ("architecture", "backbone", "lr") if masks else ("backbone", "freeze_depth", "lr")
    scores = dict.fromkeys((f"best_{metric}", *(f"best_{name}" for name in beside)))
    metrics = [*scores, "best_epoch", "epoch_seconds", f"{prefix}_{metric}", f"test_{metric}"]
    return [f"metrics.`{name}`" for name in metrics] + [f"params.`{name}`" for name in params]


def _members(result: "Result", tracker: Tracker) -> list[CardMember]:
    comparison = result.built.comparison
    return [
        CardMember(
            trial=record.number,
            run_id=tracker.child_id(record.number),
            backbone=network_of(record),
            best=record.epochs[-1].metrics[f"best_{comparison.metric}"],
            weight=f"{weight:.3f}" if weight > 0 else "",
        )
        for record, weight in zip(result.built.members, comparison.combination.weights, strict=True)
    ]


def _counts(data: Dataset) -> dict[str, list[int]]:
    count = max(1, len(data.image_classes))
    return {name: np.bincount(data.labels[rows], minlength=count).tolist() for name, rows in data.splits.items()}
