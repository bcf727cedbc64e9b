"""What a search has had of GPUs, with the clock and the cluster in our hands."""

import optuna
import pytest

from tuning.ray_backend.callbacks.gpu_hours import GpuHours


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def nodes(monkeypatch):
    there = [{"Alive": True, "Resources": {"CPU": 8.0}}]
    monkeypatch.setattr("ray.nodes", lambda: there)
    return there


def test_gpus_count_as_long_as_they_are_there_though_nobody_looks(clock, nodes):
    spent = GpuHours(optuna.create_study(), price=1.5)
    assert spent.told() == ""
    for hour in range(2):
        nodes[1:] = [{"Alive": True, "Resources": {"GPU": 4.0}}]
        for clock[0] in range(3600 * hour, 3600 * (hour + 1), 10):
            spent.on_step_end(0, [])
    assert spent.told() == "7.98 GPU hours, 11.97 at 1.5 each"  # seen 10 s late, and not yet to the end
    nodes[1]["Alive"] = False
    clock[0] += 10
    spent.on_step_end(0, [])
    clock[0] += 3600
    assert spent.hours() == pytest.approx(7.99, abs=0.01)


def test_a_resumed_search_goes_on_counting(clock, nodes):
    study = optuna.create_study()
    nodes[0]["Resources"]["GPU"] = 2.0
    first = GpuHours(study)
    clock[0] = 3600.0
    first.on_step_end(0, [])
    assert GpuHours(study).told() == "2.00 GPU hours"  # as if the first had been killed
    clock[0] = 3630.0
    first.on_experiment_end([])
    assert GpuHours(study).hours() == pytest.approx(2 + 2 * 30 / 3600)


def test_without_gpus_nothing_is_told_or_written(clock, nodes):
    study = optuna.create_study()
    spent = GpuHours(study, price=1.5)
    clock[0] = 3600.0
    spent.on_step_end(0, [])
    spent.on_experiment_end([])
    assert spent.told() == ""
    assert study.user_attrs == {}
