"""GPU hours, with a simulated clock and cluster."""

import contextlib
import threading

import optuna
import pytest

from tuning.ray_backend.callbacks import gpu_hours
from tuning.ray_backend.callbacks.gpu_hours import GpuHours


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def nodes(monkeypatch):
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0}}]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    return nodes


def test_gpus_count_while_they_are_in_the_cluster(clock, nodes):
    hours = GpuHours(optuna.create_study(), price=1.5)
    assert hours.describe() == ""
    for hour in range(2):
        nodes[1:] = [{"Alive": True, "Resources": {"GPU": 4.0}}]
        for clock[0] in range(3600 * hour, 3600 * (hour + 1), 10):
            hours.on_step_end(0, [])
    assert hours.describe() == "7.98 GPU hours, 11.97 at 1.5 each"  # noticed 10 s late, and the last 10 s are not over
    nodes[1]["Alive"] = False
    clock[0] += 10
    hours.on_step_end(0, [])
    clock[0] += 3600
    assert hours.hours() == pytest.approx(7.99, abs=0.01)


def test_a_resumed_search_continues_the_count(clock, nodes):
    study = optuna.create_study()
    nodes[0]["Resources"]["GPU"] = 2.0
    first = GpuHours(study)
    clock[0] = 3600.0
    first.on_step_end(0, [])
    assert GpuHours(study).describe() == "2.00 GPU hours"  # as if the first had been killed
    clock[0] = 3630.0
    first.on_experiment_end([])
    assert GpuHours(study).hours() == pytest.approx(2 + 2 * 30 / 3600)


def test_without_gpus_nothing_is_printed_or_saved(clock, nodes):
    study = optuna.create_study()
    hours = GpuHours(study, price=1.5)
    clock[0] = 3600.0
    hours.on_step_end(0, [])
    hours.on_experiment_end([])
    assert hours.describe() == ""
    assert study.user_attrs == {}


def test_two_threads_do_not_count_an_hour_twice(clock, nodes, monkeypatch):
    nodes[0]["Resources"]["GPU"] = 1.0
    hours = GpuHours(optuna.create_study())
    arrived = threading.Barrier(2)

    def slow():
        with contextlib.suppress(threading.BrokenBarrierError):
            arrived.wait(timeout=0.2)  # without a lock both threads would meet here
        return 1.0

    monkeypatch.setattr(gpu_hours, "_cluster_gpus", slow)
    clock[0] = 3600.0
    threads = [threading.Thread(target=hours.hours) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hours.hours() == pytest.approx(1)
