"""Training time across sessions, with simulated clocks."""

import time

import optuna
import pytest

from tests.tuning.study.driver import Driver
from tuning.ray_backend.callbacks.training_time import TrainingTime
from tuning.study.attributes import read_training_time


@pytest.fixture
def clock(monkeypatch):
    now = [1e9]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("hours", [8, -1])
def test_a_suspended_computer_or_a_clock_that_is_set_changes_nothing(clock, tmp_path, monkeypatch, hours):
    wall = time.time()
    monkeypatch.setattr("time.time", lambda: wall)
    driver = Driver(tmp_path, deadline=clock[0] + 60)
    spent = TrainingTime(driver.study)
    clock[0] += 30
    wall += 3600 * hours
    spent.on_experiment_end([])
    assert not driver.steering.out_of_time()
    assert read_training_time(driver.study) == 30


def test_the_time_of_all_sessions_counts_and_a_killed_driver_loses_a_minute(clock):
    study = optuna.create_study()
    first = TrainingTime(study)
    for _ in range(115):
        clock[0] += 60
        first.on_step_end(0, [])
    assert 113 * 60 <= read_training_time(study) <= 115 * 60  # as if the driver had been killed
    before = read_training_time(study)
    clock[0] += 3600  # nothing runs
    second = TrainingTime(study)
    clock[0] += 30
    second.on_experiment_end([])
    assert read_training_time(study) == before + 30
