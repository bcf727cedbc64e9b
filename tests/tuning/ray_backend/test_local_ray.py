"""A Ray of this machine: few processes, which wait for the trials. Changes to Ray end with it."""

import os

import psutil
import pytest
from ray import tune
from ray._private.node import Node
from ray.tune.execution import class_cache

from tuning.ray_backend.cluster import joined
from tuning.ray_backend.patches import patch_ray


def report_of_a_trial(folder):
    """Run a trial that reports its environment variables, and return its report."""

    def train(config):
        tune.report({name: os.environ.get(name) for name in ("MALLOC_ARENA_MAX", "OMP_NUM_THREADS")})

    trainable = tune.with_resources(train, tune.PlacementGroupFactory([{"CPU": 1}]))
    return tune.Tuner(trainable, run_config=tune.RunConfig(storage_path=str(folder), verbose=0)).fit()[0].metrics


@pytest.mark.ray
def test_trials_run_in_processes_that_waited_for_them_and_nothing_idles_beside(tmp_path, monkeypatch):
    """Starting Ray and one trial takes a few seconds."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with joined("local"):
        commands = {child.pid: " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)}
        report = report_of_a_trial(tmp_path)
    assert report["pid"] in commands
    assert (report["MALLOC_ARENA_MAX"], report["OMP_NUM_THREADS"]) == ("2", "1")
    assert not [command for command in commands.values() if "monitor.py" in command or "dashboard.py" in command]


def test_on_a_cluster_ray_and_tune_work_as_always(monkeypatch):
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    patch_ray(local_only=True)
    patch_ray(local_only=False)
    assert Node.start_monitor.__name__ == "start_monitor"
    options = class_cache._ActorClassCache().get(type("Trainable", (), {}))._default_options
    assert options["runtime_env"]["env_vars"] == {"PL_DISABLE_FORK": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
