"""How often a test set was opened: counted before it is opened, by this search and by all others in the same MLflow."""

import hashlib
from dataclasses import dataclass

import numpy as np
import optuna

from analysis.registry import note_openings
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL

_OPENINGS = "test_openings"


@dataclass(frozen=True)
class Openings:
    """Of one test set.

    Attributes:
        here: By this search.
        elsewhere: By other searches whose runs are in the same MLflow; None where it did not answer.
    """

    here: int
    elsewhere: int | None

    def told(self) -> str:
        """Like ``opened once`` or ``opened 3 times, 2 of them by other searches``."""
        total = self.here + (self.elsewhere or 0)
        times = {0: "never opened", 1: "opened once"}.get(total, f"opened {total} times")
        if self.elsewhere is None:
            return f"{times} by this search (MLflow did not say how often by others)"
        return f"{times}, {self.elsewhere} of them by other searches" if self.elsewhere else times


def split_fingerprint(data: Dataset, split: str) -> str:
    """SHA-256 of the data set and of which of its images a split holds; of the pool, also of how its folds part it."""
    digest = hashlib.sha256(data.fingerprint.encode())
    digest.update(np.ascontiguousarray(data.splits[split], dtype="<i8").tobytes())
    for part in data.folds if split == POOL else ():
        digest.update(f"fold of {len(part)}".encode())
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
    return digest.hexdigest()


def count_opening(study: optuna.Study, fingerprint: str) -> None:
    """Adds one to this search's openings of a test set, for good; to be called before it is opened."""
    counts = study.user_attrs.get(_OPENINGS, {})
    study.set_user_attr(_OPENINGS, {**counts, fingerprint: counts.get(fingerprint, 0) + 1})


def openings_here(study: optuna.Study, fingerprint: str) -> int:
    """How often this search has opened a test set."""
    return int(study.user_attrs.get(_OPENINGS, {}).get(fingerprint, 0))


def openings(study: optuna.Study, fingerprint: str, tracking_uri: str, run_id: str) -> Openings:
    """How often a test set was opened; tells MLflow of this search's share on the way.

    Args:
        study: The search's.
        fingerprint: Of the test set.
        tracking_uri: Of MLflow.
        run_id: The search's parent run.
    """
    here = openings_here(study, fingerprint)
    try:
        return Openings(here, note_openings(tracking_uri, run_id, fingerprint, here))
    except Exception:  # whatever a server raises: the study has counted, and tells it the next time
        return Openings(here, None)
