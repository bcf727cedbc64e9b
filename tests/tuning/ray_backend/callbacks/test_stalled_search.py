"""Searches whose trials wait for resources, with a simulated clock."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.tuning.study.driver import Driver
from tuning.ray_backend.callbacks.stalled_search import StalledSearch
from tuning.ray_backend.resources import Resources


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def stalled_search(driver, output):
    return StalledSearch(driver.steering, Resources(8, 1, "gpu_48g"), Console(file=output, width=200))


def trials(driver, status):
    return [SimpleNamespace(trial_id=trial_id, status=status) for trial_id in driver.steering.live]


def test_the_missing_resources_are_printed_after_two_minutes_and_then_rarely(tmp_path, clock, output):
    driver = Driver(tmp_path)
    stalled = stalled_search(driver, output)
    driver.start()
    for clock[0] in range(0, 700, 10):
        stalled.on_step_end(0, trials(driver, "PENDING"))
    assert output.getvalue().count("or no node has the 8 CPUs, 1 GPU, 1 gpu_48g free that each needs") == 1
    stalled.on_step_end(0, trials(driver, "RUNNING"))
    clock[0] += 110
    stalled.on_step_end(0, trials(driver, "PENDING"))
    assert output.getvalue().count("no trial has run") == 1
    clock[0] += 110
    stalled.on_step_end(0, trials(driver, "PENDING"))
    assert output.getvalue().count("no trial has run") == 2
    assert not stalled.stop_all()
