"""Members of an ensemble as MLflow models of their own."""

from dataclasses import asdict
from typing import Any

from analysis.ensembles.result import ChosenEnsemble
from analysis.registry import Entrant, log_member
from trainables.core.data.dataset import Dataset
from trainables.worker.checkpoint_io import read_models
from tuning.ensemble.member_features import MemberFeatures
from tuning.tracking.outbox import Tracker


def log_members(chosen: ChosenEnsemble, data: Dataset, tracker: Tracker, features: MemberFeatures) -> None:
    """Make each member of an ensemble loadable from its own run as ``runs:/RUN_ID/model``; safe to repeat.

    Members whose runs MLflow refuses, such as deleted ones, are left out.
    """
    roi = data.regions.model if data.regions else None
    tracker.flush()  # the members' runs must exist
    for position, record in enumerate(chosen.members):
        if record.best and record.number not in tracker.refused:
            metadata = {**about_data(data, chosen.comparison.metric), "trial": record.number}
            alone = Entrant(
                members=[read_models(record.best.checkpoint)],
                combination=chosen.comparison.combination.of_member(position),
                views=chosen.views,
                metadata=metadata,
                roi=roi,
                training_features=features.of([position]),
            )
            with tracker.noting_refusal(record.number):  # somebody deleted the run
                log_member(tracker.uri, tracker.child_id(record.number), record.best, alone)


def about_data(data: Dataset, metric: str) -> dict[str, Any]:
    """Return the metadata of a model with which an evaluation finds the images of its search and scores like it.

    Args:
        data: Data set of the search.
        metric: Metric that chose the model.
    """
    return {
        "data": data.place,
        "data_fingerprint": data.fingerprint,
        "data_table": data.table and {**asdict(data.table), "files": list(data.table.files)},
        "healthy": data.healthy,
        "metric": metric,
        "notes": list(map(str, data.notes)),  # YAML knows no other class of text
    }
