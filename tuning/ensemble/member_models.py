"""Members of an ensemble as MLflow models of their own."""

from collections.abc import Iterable

from analysis.registry import log_member
from analysis.trials import TrialRecord
from trainables.core.data.dataset import Dataset
from trainables.worker.checkpoint_io import read_models
from tuning.tracking.outbox import Tracker


def log_members(members: Iterable[TrialRecord], data: Dataset, tracker: Tracker) -> None:
    """Make each member loadable from its own run as ``runs:/RUN_ID/model``; safe to repeat.

    Members whose runs MLflow refuses, such as deleted ones, are left out.
    """
    roi = data.regions.model if data.regions else None
    tracker.flush()  # the members' runs must exist
    for record in members:
        if record.best and record.number not in tracker.refused:
            metadata = {"data_fingerprint": data.fingerprint, "trial": record.number, "notes": list(data.notes)}
            models = read_models(record.best.checkpoint)
            log_member(tracker.uri, tracker.child_id(record.number), models, record.best, metadata, roi)
