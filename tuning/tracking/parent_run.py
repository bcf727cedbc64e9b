"""The parent run of a search: checks of it, and its metrics and files."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from analysis.registry.openings import OPENINGS_METRIC
from trainables.core.errors import UserError
from trainables.core.redact import without_credentials
from tuning.tracking.runs import is_active
from tuning.tracking.server import reachable

_OF_ENSEMBLE = ("best_", "oof_", "select_", "test_")  # how the names of an ensemble's metrics begin
_MEMBERS = "members"  # folder of the files about an ensemble's members
_NO_MEMBER = "This trial was a member of an earlier ensemble. The members of this one are in ensemble.json.\n"


def check_run(uri: str, run_id: str) -> None:
    """Raise UserError unless MLflow has a search's run and the run is not deleted."""
    with reachable(uri):
        if not is_active(MlflowClient(uri), run_id):
            raise UserError(
                f"the search's run {run_id} must be in MLflow, but {without_credentials(uri)} does not have it, or it "
                "is deleted: give the --tracking-uri of the search, or restore the run"
            )


def experiment_of(uri: str, run_id: str) -> str:
    """Return the ID of a run's experiment."""
    return str(MlflowClient(uri).get_run(run_id).info.experiment_id)


def log_to_run(uri: str, run_id: str, metrics: Mapping[str, float], texts: Mapping[str, str]) -> None:
    """Log metrics, and text files by name, to a run."""
    client, now = MlflowClient(uri), round(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
    for file, text in texts.items():
        client.log_text(run_id, text, file)


def log_ensemble(uri: str, run_id: str, metrics: Mapping[str, float], texts: Mapping[str, str]) -> None:
    """Log an ensemble's metrics and text files to the parent run, in place of those of an earlier ensemble.

    MLflow's client can delete neither metrics nor files. Metrics that only the earlier ensemble has become NaN, and
    files about trials that are no longer members say so.
    """
    client = MlflowClient(uri)
    earlier = [name for name in client.get_run(run_id).data.metrics if name.startswith(_OF_ENSEMBLE)]
    members = [file.path for file in client.list_artifacts(run_id, _MEMBERS)]
    stale = {name: math.nan for name in earlier if name != OPENINGS_METRIC}
    log_to_run(uri, run_id, {**stale, **metrics}, {**dict.fromkeys(members, _NO_MEMBER), **texts})


def log_file(uri: str, run_id: str, file: Path, name: str) -> None:
    """Log a text file to a run under a name, replacing the one of this name."""
    log_to_run(uri, run_id, {}, {name: file.read_text(encoding="utf-8")})
