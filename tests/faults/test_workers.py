"""Worker processes: memory of a reused one, and trials that Tune would lose with one."""

import os
import signal
from collections import defaultdict
from dataclasses import dataclass

import psutil
import pytest
from ray import tune

from analysis.trials import TIME_BUDGET
from tests.faults.training import CONFIG, EndsTime, FaultyDataset, SlowToEnd, WatchedDataset, run
from tuning.ray_backend.cluster import joined

pytestmark = [pytest.mark.faults, pytest.mark.ray]

CONFIGS = [
    CONFIG,
    CONFIG | {"backbone": "resnet18", "freeze_depth": 2, "optimizer": "sgd", "momentum": 0.9},
    CONFIG | {"head": "mlp", "head_dropout": 0.5, "augmentation": "medical", "freeze_depth": 0},
    CONFIG | {"backbone": "mobilenetv3_small_050", "batch_size": 8, "sampler": "weighted"},
    CONFIG | {"accumulate_steps": 2, "class_weights": "balanced", "seed": 1},
]
ROUNDS = 10


@dataclass(frozen=True)
class WeighedDataset(WatchedDataset):
    """A data set that logs the worker's resident memory in bytes."""

    def watch(self):
        with (self.folder / "memory.txt").open("a") as file:
            file.write(f"{os.getpid()} {psutil.Process().memory_info().rss}\n")


def test_fifty_trials_in_one_worker_leak_nothing(small_data, tmp_path):
    configs = [config | {"epochs": 1} for config in CONFIGS] * ROUNDS
    with joined("local"):
        records = run(tmp_path, WeighedDataset.of(small_data, tmp_path), configs, concurrent=1)
    assert [record.state for record in records] == ["COMPLETE"] * len(configs)

    lines = [line.split() for line in (tmp_path / "memory.txt").read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == 1  # one warm worker
    resident = [int(size) for _, size in lines]
    per_round = len(resident) // ROUNDS
    second, last = max(resident[per_round : 2 * per_round]), max(resident[-per_round:])
    print(f"resident after 2 rounds {second / 2**20:.0f} MiB, after {ROUNDS} rounds {last / 2**20:.0f} MiB")
    assert last < 1.05 * second

    results = defaultdict(set)
    for number, record in enumerate(records):
        timeless = record.epochs[0].metrics | {"epoch_seconds": 0.0}
        results[number % len(CONFIGS)].add(tuple(sorted(timeless.items())))
    assert [len(results[index]) for index in range(len(CONFIGS))] == [1] * len(CONFIGS)


def test_a_trial_whose_worker_the_memory_monitor_kills_is_completed(small_data, tmp_path, monkeypatch):
    used = psutil.virtual_memory().percent / 100
    monkeypatch.setenv("RAY_memory_usage_threshold", str(min(0.95, used + 0.15)))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    with joined("local"):
        data = FaultyDataset.of(small_data, tmp_path, fault="takes the node's memory")
        (record,) = run(tmp_path, data)
    assert data.marker.exists()
    assert record.state == "COMPLETE"
    assert "memory" in record.failures[0]


def test_a_stopped_trial_that_is_slow_to_release_its_process_loses_no_other(small_data, tmp_path, monkeypatch):
    """After a timeout, Tune silently drops the trial that was to reuse the process."""
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "1")
    good, hopeless = CONFIG | {"freeze_depth": 0, "lr": 1e-2}, CONFIG | {"optimizer": "sgd", "lr": 1e-30}
    with joined("local"):
        configs = [good, hopeless, hopeless, good]  # the better half continues
        records = run(tmp_path, SlowToEnd.of(small_data, tmp_path), configs, concurrent=1, pruning=True)
    assert [record.state for record in records] == ["COMPLETE", "PRUNED", "PRUNED", "COMPLETE"]
    assert [len(record.epochs) for record in records] == [3, 1, 1, 3]


class KillsIdleWorker(tune.Callback):
    """A callback that kills the process of the first trial once it has ended, before the second one reuses it."""

    killed = False

    def on_trial_complete(self, iteration, trials, trial, **info):
        if not self.killed:
            self.killed = True
            os.kill(trial.last_result["pid"], signal.SIGKILL)


def test_a_trial_that_was_to_reuse_a_dead_process_is_completed(small_data, tmp_path):
    """Tune fails such a trial although it has retries left."""
    callback = KillsIdleWorker()
    with joined("local"):
        first, second = run(tmp_path, small_data, [CONFIG] * 2, concurrent=1, callbacks=[callback])
    assert callback.killed
    assert (first.state, first.failures, second.state) == ("COMPLETE", (), "COMPLETE")
    assert len(second.failures) == 1


def test_no_trial_starts_after_the_time_budget_has_ended(small_data, tmp_path):
    """More trials than CPUs: some run, and the others wait for them."""
    made = []
    configs = [CONFIG | {"epochs": 50}] * (2 * (os.cpu_count() or 1) + 2)
    with joined("local"):
        records = run(tmp_path, small_data, configs, watch=lambda steering: made.append(EndsTime(steering)) or made[0])
    (callback,) = made
    assert callback.started == callback.started_in_time < len(configs)
    assert len(records) == callback.started  # the others were returned to the queue
    assert {record.state for record in records} == {"PRUNED"}
    assert {record.stopped for record in records} == {TIME_BUDGET}
