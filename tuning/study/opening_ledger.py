"""Openings of a test set, counted before each one, by this search and by all others in the same MLflow."""

import hashlib

import numpy as np
import optuna

from analysis.ensembles.result import Openings
from analysis.registry import record_openings
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL

_OPENINGS = "test_openings"


def split_fingerprint(data: Dataset, split: str) -> str:
    """Return the SHA-256 of the data set and of a split's image indices; for the pool, its folds are included."""
    digest = hashlib.sha256(data.fingerprint.encode())
    digest.update(np.ascontiguousarray(data.splits[split], dtype="<i8").tobytes())
    for part in data.folds if split == POOL else ():
        digest.update(f"fold of {len(part)}".encode())
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
    return digest.hexdigest()


def count_opening(study: optuna.Study, fingerprint: str) -> None:
    """Add one to this search's openings of a test set. Call it before the test set is opened."""
    counts = study.user_attrs.get(_OPENINGS, {})
    study.set_user_attr(_OPENINGS, {**counts, fingerprint: counts.get(fingerprint, 0) + 1})


def openings_here(study: optuna.Study, fingerprint: str) -> int:
    """Return how often this search has opened a test set."""
    return int(study.user_attrs.get(_OPENINGS, {}).get(fingerprint, 0))


def openings(study: optuna.Study, fingerprint: str, tracking_uri: str, run_id: str) -> Openings:
    """Publish this search's openings of a test set to MLflow and return the openings by all searches.

    Args:
        study: The search's study.
        fingerprint: Fingerprint of the test set.
        tracking_uri: URI of MLflow.
        run_id: ID of the search's parent run.
    """
    here = openings_here(study, fingerprint)
    try:
        return Openings(here, record_openings(tracking_uri, run_id, fingerprint, here))
    except Exception:  # any server error: the study has the count and publishes it next time
        return Openings(here, None)
