"""The MLflow runs of a search: one parent, and one nested child per trial."""

import json
import time
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from analysis.registry.openings import SEARCH_TAG
from analysis.trials import TrialRecord
from trainables.core.errors import UserError
from trainables.core.redact import without_credentials
from tuning.tracking.server import artifact_location

_TRIAL_TAG = "tune.trial"
_PARENT = "parent"  # the parent run's value of _TRIAL_TAG
_MAX_PARAM_LENGTH = 6000
# Errors of a single run, such as a deleted one. Any other error means that MLflow does not work at the moment.
REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"})


@dataclass(frozen=True)
class SearchInfo:
    """Description of a search for its parent run.

    Attributes:
        experiment: Name of the MLflow experiment.
        name: Name of the parent run.
        uid: Globally unique ID of the search, by which its runs are found again.
        params: Parameters of the parent run.
        tags: Tags of the parent run.
    """

    experiment: str
    name: str
    uid: str
    params: dict[str, Any]
    tags: dict[str, str]


def find_experiment(client: MlflowClient, name: str) -> str | None:
    """Return the ID of an experiment, or None if it does not exist.

    Raises:
        UserError: The experiment is deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise UserError(f"the MLflow experiment {name!r} is deleted: restore it, or rename the space")
    return None if experiment is None else str(experiment.experiment_id)


def is_active(client: MlflowClient, run_id: str) -> bool:
    """Return False if a run is deleted or does not exist."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code not in REFUSALS:
            raise
        return False


class SearchRuns:
    """Creator of a search's runs, which never creates one twice.

    A driver may be killed after it created a run and before it saved the run's ID, so existing runs are found by their
    tags first.

    Raises:
        UserError: The experiment is deleted.
    """

    def __init__(self, client: MlflowClient, info: SearchInfo):
        self._client, self._info = client, info
        self.experiment_id = self._find_or_create_experiment()
        self.find()

    def find(self) -> None:
        """Find the search's runs, including those whose creation was not acknowledged."""
        run_ids: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], f"tags.`{SEARCH_TAG}` = '{self._info.uid}'", page_token=token
            )
            run_ids |= {run.data.tags[_TRIAL_TAG]: run.info.run_id for run in page}
            token = page.token
            if not token:
                break
        self._run_ids = run_ids

    def parent(self) -> str:
        """Return the ID of the parent run; create the run if it does not exist."""
        tags = {**self._info.tags, MLFLOW_RUN_NAME: self._info.name}
        return self._find_or_create(_PARENT, tags, self._info.params, time.time())

    def child(self, parent_id: str, record: TrialRecord, started: float) -> str:
        """Return the ID of a trial's run; create the run if it does not exist.

        Args:
            parent_id: ID of the parent run.
            record: The trial.
            started: Start of the trial in seconds since 1970.
        """
        name = f"trial-{record.number:04d}-{record.config.get('backbone', '')}"
        tags = {MLFLOW_PARENT_RUN_ID: parent_id, MLFLOW_RUN_NAME: name, "tune.origin": record.origin}
        return self._find_or_create(str(record.number), tags, record.config, started)

    def _find_or_create_experiment(self) -> str:
        name, client = self._info.experiment, self._client
        experiment_id = find_experiment(client, name)
        if experiment_id is not None:
            return experiment_id
        try:
            return str(client.create_experiment(name, artifact_location(client.tracking_uri, name)))
        except MlflowException:
            experiment_id = find_experiment(client, name)  # another search may just have created it
            if experiment_id is None:
                raise
            return experiment_id

    def _find_or_create(self, key: str, tags: dict[str, str], params: dict[str, Any], started: float) -> str:
        """Return the ID of the run with a key, with all its parameters logged. Safe to repeat."""
        if key not in self._run_ids:
            tags = {name: without_credentials(value) for name, value in tags.items()}
            tags |= {SEARCH_TAG: self._info.uid, _TRIAL_TAG: key}
            self._run_ids[key] = self._client.create_run(self.experiment_id, round(started * 1000), tags).info.run_id
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
        batch = [Param(name, without_credentials(value)[:_MAX_PARAM_LENGTH]) for name, value in values.items()]
        self._client.log_batch(self._run_ids[key], params=batch)
        return self._run_ids[key]
