"""The outbox that sends a study to MLflow.

``Tracker`` is a thread that sends what the study holds and MLflow has not acknowledged, and writes each acknowledgement
into the study. It has no other state, so a new process continues where the last one stopped.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from analysis.registry.model_card import VIEW
from analysis.trials import TrialRecord, read_trial
from trainables.core.errors import first_line
from tuning.study.storage.fence import check_held
from tuning.tracking.parent_run import log_file, log_to_run
from tuning.tracking.runs import REFUSALS, SearchInfo, SearchRuns, find_experiment, is_active
from tuning.tracking.server import reachable

# Attributes of the study: the parent run's ID, and what MLflow has acknowledged of each trial.
PARENT = "mlflow:parent"
_CHILD = "mlflow:trial:{}"
_INTERRUPTED = "tune.interrupted"
_STATUS = {"RUNNING": "RUNNING", "COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_MAX_METRICS = 1000  # MLflow's limit per call
_PERIOD_S = 1.0


@dataclass
class _Sent:
    """State of a trial that MLflow has acknowledged."""

    run_id: str
    epoch: int = 0
    status: str = "RUNNING"


def check_experiment(uri: str, name: str) -> None:
    """Raise UserError if a search cannot log to an experiment because it is deleted."""
    with reachable(uri):
        find_experiment(MlflowClient(uri), name)


def child_run(study: optuna.Study, number: int) -> str:
    """Return the run ID of a trial, or "" if MLflow refused its run."""
    return str(study.user_attrs.get(_CHILD.format(number), {}).get("run_id", ""))


class Tracker:
    """Background sender of a study to MLflow. Training never waits for it.

    Attributes:
        uri: URI of MLflow.
        experiment_id: ID of the experiment.
        parent_id: ID of the parent run.
        unsent: Error that keeps something from being sent, or None.
        refused: Trials whose runs MLflow does not accept, such as deleted ones, with the reason.

    Raises:
        UserError: MLflow does not answer, or the experiment is deleted.
    """

    def __init__(self, study: optuna.Study, uri: str, info: SearchInfo):
        self._study, self.uri = study, uri
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.unsent: str | None = None
        self.refused: dict[int, str] = {}
        self._client = MlflowClient(uri)
        with reachable(uri):
            self._runs = SearchRuns(self._client, info)
            self._resume()
        self.experiment_id = self._runs.experiment_id
        self._thread = threading.Thread(target=self._run, name="mlflow-outbox", daemon=True)
        self._thread.start()

    def _resume(self) -> None:
        """Read from the study what was sent, and set runs that an earlier driver ended to RUNNING again."""
        study = self._study
        attributes = study.user_attrs
        known = attributes.get(PARENT)
        self.parent_id: str = known if known and is_active(self._client, known) else self._runs.parent()
        study.set_user_attr(PARENT, self.parent_id)
        self._sent = {
            int(name.rsplit(":", 1)[1]): _Sent(**value)
            for name, value in attributes.items()
            if name.startswith(_CHILD.format(""))
        }
        self._set_running(self.parent_id)
        for number, sent in self._sent.items():
            with self.noting_refusal(number):
                if known not in (None, self.parent_id):  # somebody deleted the parent
                    self._client.set_tag(sent.run_id, MLFLOW_PARENT_RUN_ID, self.parent_id)
                if sent.status == "RUNNING":
                    self._set_running(sent.run_id)

    def _set_running(self, run_id: str) -> None:
        self._client.update_run(run_id, status="RUNNING")
        self._client.set_tag(run_id, _INTERRUPTED, "false")

    @contextmanager
    def noting_refusal(self, number: int) -> Iterator[None]:
        """Note that MLflow does not accept a trial's run. One such run must not hold up the others."""
        try:
            yield
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            self.refused[number] = first_line(error)

    def close(self, status: str) -> None:
        """Send the rest, then end the parent run as FINISHED, FAILED or KILLED.

        Children of running trials are ended as KILLED; a resumed search continues them.
        """
        self._stop.set()
        self._thread.join()
        self.flush()
        if self.unsent is not None:
            return
        try:
            for number, sent in self._sent.items():
                if sent.status == "RUNNING" and number not in self.refused:
                    self._client.set_tag(sent.run_id, _INTERRUPTED, "true")
                    self._client.set_terminated(sent.run_id, "KILLED")
            self._client.set_terminated(self.parent_id, status)
        except Exception as error:  # the server may fail at any time: report it, do not raise
            self.unsent = first_line(error)

    def log_parent(self, metrics: dict[str, float], texts: dict[str, str] | None = None) -> None:
        """Log metrics and text files to the parent run."""
        log_to_run(self.uri, self.parent_id, metrics, texts or {})

    def log_file(self, file: Path) -> None:
        """Log a text file to the parent run, replacing one of the same name."""
        log_file(self.uri, self.parent_id, file, file.name)

    def child_id(self, number: int) -> str:
        """Return the run ID of a trial that was sent; "" if MLflow refused its run from the beginning."""
        if number in self.refused and number not in self._sent:
            return ""
        return self._sent[number].run_id

    def describe_parent(self, text: str, columns: Iterable[str]) -> None:
        """Set the parent run's description in Markdown, and the columns of the experiment's shared view.

        By default, MLflow's table of runs shows no metric. Columns look like "metrics.`best_auroc`".
        """
        self._client.set_tag(self.parent_id, MLFLOW_RUN_NOTE, text)
        view = {"selectedColumns": list(columns)}
        self._client.set_experiment_tag(self.experiment_id, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))

    def flush(self) -> None:
        """Send everything that is not acknowledged yet, and set ``unsent``."""
        with self._lock:
            error_text = None
            try:
                check_held(self._study)
                if self.unsent is not None:  # a run may have been created although its acknowledgement was lost
                    self._runs.find()
                for frozen in self._study.get_trials(deepcopy=False):
                    if frozen.state.name != "WAITING" and frozen.number not in self.refused:
                        with self.noting_refusal(frozen.number):
                            self._send(frozen)
            except Exception as error:  # whatever the error, the outbox must stay alive and try again
                error_text = first_line(error)
            self.unsent = error_text

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.flush()

    def _send(self, frozen: optuna.trial.FrozenTrial) -> None:
        """Send the news of a trial, then write the acknowledgement into the study."""
        sent = self._sent.get(frozen.number)
        status = _STATUS[frozen.state.name]
        if sent is not None and sent.status == status != "RUNNING":
            return
        record = read_trial(frozen)
        if not record.config:
            return
        if sent is None:
            started = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
            sent = _Sent(self._runs.child(self.parent_id, record, started))
        self._send_metrics(record, sent)
        if status != "RUNNING":
            for key, value in _final_tags(record):
                self._client.set_tag(sent.run_id, key, value)
            ended = frozen.datetime_complete
            self._client.set_terminated(sent.run_id, status, round(ended.timestamp() * 1000) if ended else None)
        acknowledged = _Sent(sent.run_id, record.epochs[-1].epoch if record.epochs else 0, status)
        if acknowledged != self._sent.get(record.number):
            self._sent[record.number] = acknowledged
            self._study.set_user_attr(_CHILD.format(record.number), asdict(acknowledged))

    def _send_metrics(self, record: TrialRecord, sent: _Sent) -> None:
        metrics = [
            Metric(name, value, epoch.time_ms, epoch.epoch)
            for epoch in record.epochs
            if epoch.epoch > sent.epoch
            for name, value in epoch.metrics.items()
        ]
        for start in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(sent.run_id, metrics=metrics[start : start + _MAX_METRICS])


def _final_tags(record: TrialRecord) -> Iterable[tuple[str, str]]:
    if record.state == "PRUNED":
        yield "tune.stopped_early", record.stopped or ""
    if record.state == "FAIL":
        yield "tune.error", record.failures[-1] if record.failures else "ended without a report"
    elif record.failures:
        yield "tune.recovered_errors", "; ".join(record.failures)
