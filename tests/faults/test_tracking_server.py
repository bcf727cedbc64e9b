"""A real MLflow server fails during a search, and returns or does not."""

import time
from itertools import pairwise

import pytest

from analysis.trials import read_trials
from tests.faults.server import Server
from tests.searches import SMALL, check_nothing_lost, load, search, start_search

pytestmark = [pytest.mark.faults, pytest.mark.ray]
AWAY_S = 60


@pytest.fixture
def server(folder):
    server = Server(folder)
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_away_for_a_minute_receives_everything(folder, server):
    arguments = ["demo_space", "--data", "data", *SMALL, "--tracking-uri", server.uri]
    driver = start_search(folder, *arguments, "--num-samples", 1000, "--time-budget", f"{2 * AWAY_S}s")
    server.kill()
    gone = time.time()
    time.sleep(AWAY_S)
    back = time.time()
    server.start()
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    assert "MLflow is missing some results" not in output

    study = load(folder, "demo_space")
    records = read_trials(study)
    check_nothing_lost(study, server.uri, "demo_space", len(records), epochs=3)
    times = sorted(epoch.time_ms / 1000 for record in records for epoch in record.epochs)
    away = [moment for moment in times if gone <= moment <= back]
    after = [moment for moment in times if moment > back]
    assert min(len(away), len(after)) > 10
    meanwhile, otherwise = len(away) / (back - gone), len(after) / (after[-1] - back)
    print(f"reports per second: {meanwhile:.2f} without the server, {otherwise:.2f} with it")
    assert meanwhile > 0.5 * otherwise  # allows noise, but no standstill: waiting for one request takes longer
    assert max(later - earlier for earlier, later in pairwise([gone, *away, back])) < AWAY_S / 4


def test_resume_sends_what_a_dead_server_did_not_receive(folder, server):
    arguments = ["demo_space", "--data", "data", *SMALL, "--num-samples", 3, "--tracking-uri", server.uri]
    driver = start_search(folder, *arguments)
    server.kill()
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 1
    assert "The ensemble could not be registered" in output
    assert "Rerun with --resume to send them" in output
    assert len(read_trials(load(folder, "demo_space"))) == 3
    search(folder, *arguments, "--resume", code=2)  # refused, without a change, because MLflow must answer
    server.start()
    search(folder, *arguments, "--resume")
    parent = check_nothing_lost(load(folder, "demo_space"), server.uri, "demo_space", 3, epochs=3)
    assert parent.data.metrics["test_openings"] == 1
