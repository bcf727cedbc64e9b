"""Machines that do not come: with a clock of our own, and with a cluster that has none."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.tuning.study.driver import Driver
from tuning.ray_backend.callbacks.stalled_search import Waiting
from tuning.ray_backend.resources import Resources


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def waiting_for(driver, said):
    return Waiting(driver.steering, Resources(8, 1, "gpu_48g"), Console(file=said, width=200))


def trials(driver, status):
    return [SimpleNamespace(trial_id=trial_id, status=status) for trial_id in driver.steering.live]


def test_what_is_waited_for_is_said_after_minutes_and_then_seldom(tmp_path, clock, said):
    driver = Driver(tmp_path)
    waiting = waiting_for(driver, said)
    driver.start()
    for clock[0] in range(0, 700, 10):
        waiting.on_step_end(0, trials(driver, "PENDING"))
    assert said.getvalue().count("no trial has run for 2 min: each needs 8 CPUs, 1 GPUs, 1 gpu_48g on one node") == 1
    waiting.on_step_end(0, trials(driver, "RUNNING"))
    clock[0] += 110
    waiting.on_step_end(0, trials(driver, "PENDING"))
    assert said.getvalue().count("no trial has run") == 1
    clock[0] += 110
    waiting.on_step_end(0, trials(driver, "PENDING"))
    assert said.getvalue().count("no trial has run") == 2
    assert not waiting.stop_all()


def test_when_the_time_is_up_those_that_never_ran_are_ended(tmp_path, said):
    driver = Driver(tmp_path, deadline=time.time() - 1)
    driver.steering.deadline += 3600
    driver.start()
    waiting = waiting_for(driver, said)
    waiting.on_step_end(0, trials(driver, "PENDING"))
    driver.steering.deadline -= 3600
    waiting.on_step_end(0, trials(driver, "RUNNING"))
    assert not waiting.stop_all()  # it will report
    waiting.on_step_end(0, trials(driver, "PENDING"))
    assert waiting.stop_all()
    assert [trial.state.name for trial in driver.study.trials] == ["FAIL"]
