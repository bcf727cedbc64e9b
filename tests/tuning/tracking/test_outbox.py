"""The outbox from a study to MLflow, on a real SQLite store."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.trials import read_trials
from tests.tuning.study.driver import EPOCHS, METRIC, Driver
from trainables.core.errors import UserError
from trainables.core.training.metrics.classification_metrics import class_keys
from tuning.tracking.outbox import Tracker, check_experiment
from tuning.tracking.runs import SearchInfo, SearchRuns

INFO = SearchInfo("space", "search", "uid-1", {"seed": 0, "weights": "random"}, {"tune.space": "space"})


@pytest.fixture
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def runs(uri):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("space")
    all_runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    parents = [run for run in all_runs if "mlflow.parentRunId" not in run.data.tags]
    children = sorted(
        (run for run in all_runs if "mlflow.parentRunId" in run.data.tags),
        key=lambda run: int(run.data.tags["tune.trial"]),
    )
    return client, parents, children


def test_a_search_is_a_parent_run_with_one_child_per_trial(tmp_path, uri):
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    driver.run(lambda number: 0.9)
    driver.run(lambda number: 0.1)  # paused
    failed, _ = driver.start()
    (tmp_path / "error.txt").write_text("Failure # 1 (occurred now)\nValueError: it broke\nin two lines")
    ray_trial = SimpleNamespace(trial_id=failed, status="RUNNING", error_file=tmp_path / "error.txt")
    driver.scheduler.on_trial_error(None, ray_trial)
    driver.searcher.on_trial_complete(failed, error=True)
    driver.steering.stop_paused()
    tracker.log_parent({"test_accuracy": 0.5}, {"report.txt": "text"})
    tracker.close("FINISHED")
    assert tracker.unsent is None

    client, (parent,), children = runs(uri)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["test_accuracy"] == 0.5
    assert parent.data.params == {"seed": "0", "weights": "random"}
    assert [child.data.tags["mlflow.parentRunId"] for child in children] == [parent.info.run_id] * 3
    assert [child.info.status for child in children] == ["FINISHED", "KILLED", "FAILED"]
    assert children[1].data.tags["tune.stopped_early"] == "pruned"
    assert children[2].data.tags["tune.error"] == "ValueError: it broke"
    assert children[0].data.params.keys() == {"lr"}
    history = client.get_metric_history(children[0].info.run_id, f"best_{METRIC}")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))
    recorded = [epoch.time_ms for epoch in read_trials(driver.study)[0].epochs]
    assert [point.timestamp for point in history] == recorded


def test_a_new_driver_neither_duplicates_nor_loses_metrics(tmp_path, uri, monkeypatch):
    first = Driver(tmp_path)
    tracker = Tracker(first.study, uri, INFO)
    trial_id, _ = first.start()
    first.report(trial_id, 1, 0.5)
    # MLflow has the epoch, but the driver dies before it can save the acknowledgement.
    monkeypatch.setattr(first.study, "set_user_attr", lambda *_: None)
    tracker.flush()
    tracker._stop.set()

    second = Driver(tmp_path)
    tracker = Tracker(second.study, uri, INFO)
    second.start()
    second.report(f"ray-{id(second)}-1", 2, 0.6)
    second.searcher.on_trial_complete(f"ray-{id(second)}-1", error=True)
    tracker.close("FINISHED")
    client, parents, children = runs(uri)
    assert (len(parents), len(children)) == (1, 1)
    history = client.get_metric_history(children[0].info.run_id, f"best_{METRIC}")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.6)]


def test_a_deleted_run_does_not_hold_up_the_others(tmp_path, uri):
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.5)
    tracker.flush()
    client, _, (child,) = runs(uri)
    client.delete_run(child.info.run_id)
    driver.report(trial_id, 2, 0.6)
    driver.run(lambda number: 0.9)
    tracker.close("FINISHED")
    assert tracker.unsent is None
    assert list(tracker.refused) == [0] and "deleted" in tracker.refused[0]
    _, (parent,), (other,) = runs(uri)
    assert (parent.info.status, other.info.status) == ("FINISHED", "FINISHED")
    assert other.data.tags["tune.trial"] == "1"

    again = Tracker(Driver(tmp_path).study, uri, INFO)  # as with --resume
    again.close("FINISHED")
    assert (again.unsent, list(again.refused)) == (None, [0])


def test_a_search_whose_parent_run_was_deleted_gets_another_one(tmp_path, uri):
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    driver.run(lambda number: 0.9)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.5)
    tracker.flush()
    client, (first,), _ = runs(uri)
    client.delete_run(first.info.run_id)
    tracker.close("FINISHED")
    assert "deleted" in tracker.unsent

    again = Tracker(Driver(tmp_path).study, uri, INFO)  # as with --resume
    again.log_parent({"test_accuracy": 0.5})
    again.close("FINISHED")
    assert (again.unsent, again.refused) == (None, {})
    _, (parent,), children = runs(uri)
    assert parent.info.run_id != first.info.run_id
    assert (parent.info.status, parent.data.metrics["test_accuracy"], parent.data.params) == (
        "FINISHED", 0.5, {"seed": "0", "weights": "random"},
    )  # fmt: skip
    assert [child.data.tags["mlflow.parentRunId"] for child in children] == [parent.info.run_id] * 2
    assert Tracker(Driver(tmp_path).study, uri, INFO).parent_id == parent.info.run_id


def test_an_interrupted_search_leaves_no_run_running(tmp_path, uri):
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    trial_id, _ = driver.start()
    driver.report(trial_id, 1, 0.5)
    tracker.close("KILLED")
    _, (parent,), (child,) = runs(uri)
    assert (parent.info.status, child.info.status) == ("KILLED", "KILLED")

    again = Driver(tmp_path)
    tracker = Tracker(again.study, uri, INFO)
    again.run()
    tracker.close("FINISHED")
    _, (parent,), (child,) = runs(uri)
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")


def test_metrics_that_could_not_be_sent_are_sent_later(tmp_path, uri, monkeypatch):
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    send = tracker._client.log_batch

    def down(*_, **__):
        raise MlflowException("connection refused")

    monkeypatch.setattr(tracker._client, "log_batch", down)
    driver.run()
    tracker.flush()
    assert tracker.unsent == "connection refused"
    monkeypatch.setattr(tracker._client, "log_batch", send)
    tracker.close("FINISHED")
    assert tracker.unsent is None
    client, _, (child,) = runs(uri)
    assert len(client.get_metric_history(child.info.run_id, "epoch_seconds")) == EPOCHS


def test_every_class_key_is_a_valid_metric_name(tmp_path, uri):
    keys = class_keys(("<30", "≥30", "a//b", "..", "", "/", "größer", "[red]x", "x/"))
    driver = Driver(tmp_path)
    tracker = Tracker(driver.study, uri, INFO)
    tracker.log_parent({f"tune/recall/{key}": float(index) for index, key in enumerate(keys)})
    tracker.close("FINISHED")
    _, (parent,), _ = runs(uri)
    assert sorted(parent.data.metrics.values()) == [float(index) for index in range(len(keys))]


def test_a_deleted_experiment_is_a_usage_error(tmp_path, uri):
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("space"))
    with pytest.raises(UserError, match="'space' is deleted: restore it"):
        Tracker(Driver(tmp_path).study, uri, INFO)


def test_artifacts_lie_beside_the_database_and_an_existing_experiment_keeps_its_place(tmp_path, uri, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracker = Tracker(Driver(tmp_path).study, uri, INFO)
    tracker.log_parent({}, {"report.txt": "text"})
    tracker.close("FINISHED")
    (report,) = Path(uri.removeprefix("sqlite:///")).parent.rglob("report.txt")
    assert report.read_text() == "text"
    assert list(Path.cwd().iterdir()) == []
    client, place = MlflowClient(uri), str(tmp_path / "chosen by hand")
    client.rename_experiment(client.get_experiment_by_name("space").experiment_id, "before")
    client.create_experiment("space", artifact_location=place)
    (tmp_path / "second").mkdir()
    tracker = Tracker(Driver(tmp_path / "second").study, uri, INFO)
    tracker.log_parent({}, {"report.txt": "text"})
    tracker.close("FINISHED")
    assert len(list(Path(place).rglob("report.txt"))) == 1


def test_a_deleted_experiment_is_refused(uri):
    check_experiment(uri, "space")
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("space"))
    with pytest.raises(UserError, match="the MLflow experiment 'space' is deleted: restore it, or rename the space"):
        check_experiment(uri, "space")


def test_an_experiment_that_another_search_creates_at_the_same_time_is_used(uri):
    """Both searches find no experiment; the other one creates it first."""

    class Client(MlflowClient):
        created = None

        def create_experiment(self, name, *arguments):
            self.created = MlflowClient(uri).create_experiment(name)
            return super().create_experiment(name, *arguments)

    client = Client(uri)
    assert SearchRuns(client, INFO).experiment_id == client.created is not None
