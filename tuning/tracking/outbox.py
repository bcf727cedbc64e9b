"""MLflow as a reader of the study: one parent run a search, one child run a trial.

``Tracker`` is an outbox over the study: a thread that sends what the study holds and MLflow has not acknowledged, and
writes each acknowledgement into the study. It keeps nothing else, so a new process goes on where the last one stopped.
"""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from analysis.registry.model_card import VIEW
from analysis.trials import TrialRecord, read_trial
from trainables.core.errors import UserError, first_line
from trainables.core.redact import without_credentials
from tuning.tracking.server import answering

PARENT = "mlflow:parent"  # the study's attribute that holds the parent run's id
_CHILD = "mlflow:trial:{}"
_SEARCH_TAG, _TRIAL_TAG, _INTERRUPTED = "tune.search", "tune.trial", "tune.interrupted"
_STATUS = {"RUNNING": "RUNNING", "COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_MOST_METRICS = 1000  # MLflow's limit of one call
_PARAM_LENGTH = 6000
_PERIOD_S = 1.0


@dataclass(frozen=True)
class SearchInfo:
    """What the parent run says of a search."""

    experiment: str
    name: str
    uid: str
    params: dict[str, Any]
    tags: dict[str, str]


@dataclass
class _Sent:
    """What MLflow has acknowledged of one trial."""

    run_id: str
    epoch: int = 0
    status: str = "RUNNING"


def log_file(uri: str, run_id: str, file: Path) -> None:
    """Logs a file to a run, in place of one of that name."""
    MlflowClient(uri).log_artifact(run_id, str(file))


class Tracker:
    """Sends a study to MLflow in the background; training never waits for it."""

    def __init__(self, study: optuna.Study, uri: str, info: SearchInfo):
        self._study, self._info, self.uri = study, info, uri
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.unsent: str | None = None
        self._client = MlflowClient(uri)
        with answering(uri):
            self._take_up()
        self._thread = threading.Thread(target=self._run, name="mlflow-outbox", daemon=True)
        self._thread.start()

    def _take_up(self) -> None:
        """Finds or makes the experiment and the parent run, and reads from the study what was sent."""
        study = self._study
        self.experiment_id = self._experiment()
        attributes = study.user_attrs
        self._known = self._runs_of_this_search()
        self.parent_id: str = attributes.get(PARENT) or self._create_parent()
        study.set_user_attr(PARENT, self.parent_id)
        self._sent = {
            int(name.rsplit(":", 1)[1]): _Sent(**value)
            for name, value in attributes.items()
            if name.startswith(_CHILD.format(""))
        }
        for run_id in (self.parent_id, *(sent.run_id for sent in self._sent.values() if sent.status == "RUNNING")):
            self._client.update_run(run_id, status="RUNNING")  # they may have been ended when an earlier driver was
            self._client.set_tag(run_id, _INTERRUPTED, "false")

    def close(self, status: str) -> None:
        """Sends what is left, then ends the parent run with FINISHED, FAILED or KILLED.

        Children that are under way are ended as KILLED; a resumed search takes them up again.
        """
        self._stop.set()
        self._thread.join()
        self.flush()
        if self.unsent is not None:
            return
        try:
            for sent in self._sent.values():
                if sent.status == "RUNNING":
                    self._client.set_tag(sent.run_id, _INTERRUPTED, "true")
                    self._client.set_terminated(sent.run_id, "KILLED")
            self._client.set_terminated(self.parent_id, status)
        except Exception as error:  # the server may go away just now: said, not raised
            self.unsent = first_line(error)

    def log_parent(self, metrics: dict[str, float], texts: dict[str, str] | None = None) -> None:
        """Logs figures and text files to the parent run."""
        now = round(time.time() * 1000)
        self._client.log_batch(self.parent_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
        for file, text in (texts or {}).items():
            self._client.log_text(self.parent_id, text, file)

    def log_file(self, file: Path) -> None:
        """Logs a file to the parent run, in place of one of that name."""
        log_file(self.uri, self.parent_id, file)

    def child_id(self, number: int) -> str:
        """The run of a trial that was sent."""
        return self._sent[number].run_id

    def describe_parent(self, text: str, columns: Iterable[str]) -> None:
        """Sets the markdown on the parent run's page, and the columns of the experiment's view ``results``.

        Left to itself MLflow's table of runs shows no metric. ``columns`` are like "metrics.`best_auroc`".
        """
        self._client.set_tag(self.parent_id, MLFLOW_RUN_NOTE, text)
        view = {"selectedColumns": list(columns)}
        self._client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))

    def flush(self) -> None:
        """Sends everything that was not acknowledged; ``unsent`` says why that failed, or is None."""
        with self._lock:
            failed = None
            try:
                if self.unsent is not None:  # a run may have been made whose answer never came
                    self._known = self._runs_of_this_search()
                for frozen in self._study.get_trials(deepcopy=False):
                    if frozen.state.name != "WAITING":
                        self._send(frozen)
            except Exception as error:  # whatever it is, the outbox must live on to try again
                failed = first_line(error)
            self.unsent = failed

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.flush()

    def _send(self, frozen: optuna.trial.FrozenTrial) -> None:
        sent = self._sent.get(frozen.number)
        status = _STATUS[frozen.state.name]
        if sent is not None and sent.status == status != "RUNNING":
            return
        record = read_trial(frozen)
        if not record.config:
            return
        if sent is None:
            sent = _Sent(self._create_child(record, frozen))
        new = [epoch for epoch in record.epochs if epoch.epoch > sent.epoch]
        metrics = [
            Metric(name, value, epoch.time_ms, epoch.epoch) for epoch in new for name, value in epoch.metrics.items()
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(sent.run_id, metrics=metrics[start : start + _MOST_METRICS])
        if status != "RUNNING":
            for key, value in _ending(record):
                self._client.set_tag(sent.run_id, key, value)
            ended = frozen.datetime_complete
            self._client.set_terminated(sent.run_id, status, round(ended.timestamp() * 1000) if ended else None)
        acknowledged = _Sent(sent.run_id, record.epochs[-1].epoch if record.epochs else 0, status)
        if acknowledged != self._sent.get(record.number):
            self._sent[record.number] = acknowledged
            self._study.set_user_attr(_CHILD.format(record.number), asdict(acknowledged))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._info.experiment)
        if found is not None and found.lifecycle_stage != "active":
            raise UserError(f"the MLflow experiment {found.name!r} is deleted: restore it, or rename the space")
        return str(found.experiment_id if found else self._client.create_experiment(self._info.experiment))

    def _runs_of_this_search(self) -> dict[str, str]:
        """Runs that an earlier driver made, perhaps without living to note it in the study."""
        runs: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], f"tags.`{_SEARCH_TAG}` = '{self._info.uid}'", page_token=token
            )
            runs |= {run.data.tags[_TRIAL_TAG]: run.info.run_id for run in page}
            token = page.token
            if not token:
                return runs

    def _create_parent(self) -> str:
        tags = {**self._info.tags, MLFLOW_RUN_NAME: self._info.name}
        return self._create_run("parent", tags, self._info.params, time.time())

    def _create_child(self, record: TrialRecord, frozen: optuna.trial.FrozenTrial) -> str:
        name = f"trial-{record.number:04d}-{record.config.get('backbone', '')}"
        tags = {MLFLOW_PARENT_RUN_ID: self.parent_id, MLFLOW_RUN_NAME: name}
        began = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
        return self._create_run(str(record.number), tags, record.config, began)

    def _create_run(self, key: str, tags: dict[str, str], params: dict[str, Any], began: float) -> str:
        """The search's run of that key, made where it is not known, with its params; safe to repeat."""
        if key not in self._known:
            tags = {name: without_credentials(value) for name, value in tags.items()}
            tags |= {_SEARCH_TAG: self._info.uid, _TRIAL_TAG: key}
            self._known[key] = self._client.create_run(self.experiment_id, round(began * 1000), tags).info.run_id
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
        batch = [Param(name, without_credentials(value)[:_PARAM_LENGTH]) for name, value in values.items()]
        self._client.log_batch(self._known[key], params=batch)
        return self._known[key]


def _ending(record: TrialRecord) -> Iterable[tuple[str, str]]:
    if record.state == "PRUNED":
        yield "tune.stopped_early", record.stopped or ""
    if record.state == "FAIL":
        yield "tune.error", record.failures[-1] if record.failures else "ended without a report"
    elif record.failures:
        yield "tune.mended_errors", "; ".join(record.failures)
