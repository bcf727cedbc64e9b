"""The report of a search made again, on a real study and a real SQLite store."""

from pathlib import Path

import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from tests.tuning.ensemble.made_up import quiet
from tests.tuning.real_search import NAME, RealSearch
from tuning.cli.report import app
from tuning.report.remake_report import ReportOptions, remake
from tuning.study.data_request import DataRequest


def test_a_report_elsewhere_replaces_that_of_the_run(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    request = DataRequest(small_data.place, seed=0)
    search = RealSearch(tmp_path, request, request.prepare(sizes=[32]))
    search.add_trial(0.6)
    with search.tracker() as tracker:
        tracker.log_parent({}, {"report.html": "an old report"})
    elsewhere = tmp_path / "brains.html"
    assert remake(ReportOptions(NAME, out=elsewhere, storage=str(tmp_path)), quiet()) == 0
    client = MlflowClient(search.uri)
    assert [file.path for file in client.list_artifacts(tracker.parent_id)] == ["report.html"]
    logged = Path(client.download_artifacts(tracker.parent_id, "report.html", str(tmp_path)))
    assert logged.read_bytes() == elsewhere.read_bytes()
    assert "test set is still sealed" in elsewhere.read_text()


def test_the_report_does_not_replace_the_study_file(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("purpose: triage\n")
    done = CliRunner().invoke(app, [NAME, "--study", str(file), "--out", str(file)])
    assert done.exit_code == 2 and file.read_text() == "purpose: triage\n"
    assert "--out must not be one of the inputs, but" in " ".join(done.stderr.split())
