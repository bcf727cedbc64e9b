"""Searches with simulated training on the shared databases and server of a team."""

import json
import signal
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from tests.faults.kills import PAUSES, POINTS
from tests.faults.simulated import Simulated
from tests.services import Service

pytestmark = pytest.mark.tracking
TRIALS, CONCURRENT = 100, 50
IN_A_DATABASE = [point for point in POINTS if not any(part in point for part in ("journal", "images", "test", "model"))]
IN_A_DATABASE += PAUSES


def test_fifty_concurrent_trials_lose_and_duplicate_nothing(tmp_path, study_url, tracking):
    search = Simulated(
        tmp_path, TRIALS, CONCURRENT, study_url, tracking, space="fifty concurrent trials", in_step=False
    )
    started = time.monotonic()
    reports, seconds = search.run()
    acknowledged = time.monotonic() - started
    print(f"{reports} reports of {TRIALS} trials: {reports / seconds:.1f} per second into the study, ", end="")
    print(f"{reports / acknowledged:.1f} per second until MLflow had all of them")
    search.check()


@pytest.mark.parametrize("point", IN_A_DATABASE)
def test_a_driver_killed_at_a_named_point_loses_and_duplicates_nothing(tmp_path, study_url, tracking, point):
    search = Simulated(tmp_path, 8, url=study_url, server=tracking, space=f"killed: {point}")
    assert search.run_in_a_process(point, 2) == signal.SIGKILL
    assert search.run_in_a_process() == 0
    search.check()


def test_optuna_dashboard_shows_the_study(tmp_path, study_url, tracking):
    search = Simulated(tmp_path, 3, url=study_url, server=tracking, space="interrupted")
    assert search.run_in_a_process("trial finished in the study", 2) == signal.SIGKILL
    program = Path(sys.executable).with_name("optuna-dashboard")
    dashboard = Service(tmp_path / "log", [program, study_url, "--host", "127.0.0.1", "--port", "PORT"])
    dashboard.start()
    try:
        (summary,) = ask(dashboard, "/api/studies")["study_summaries"]
        shown = ask(dashboard, f"/api/studies/{summary['study_id']}")["trials"]
    finally:
        dashboard.kill()
    (study,) = optuna.get_all_study_summaries(study_url)
    assert summary["study_name"] == study.study_name == "search"
    trials = optuna.load_study(study_name="search", storage=study_url).trials
    assert "RUNNING" in {trial.state.name for trial in trials}
    assert [(trial["number"], trial["state"].upper()) for trial in shown] == [
        (trial.number, trial.state.name) for trial in trials
    ]
    assert [{point["step"]: point["value"] for point in trial["intermediate_values"]} for trial in shown] == [
        trial.intermediate_values for trial in trials
    ]


def ask(dashboard, path):
    with urllib.request.urlopen(dashboard.uri + path) as answer:
        return json.load(answer)
