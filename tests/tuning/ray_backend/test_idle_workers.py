"""Trials run in the worker processes that Ray starts with on this machine; on a cluster, Tune's variables stay."""

import os

import psutil
import pytest
import ray
from ray import tune
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
def test_a_trial_runs_in_a_process_that_waited_for_it(tmp_path, monkeypatch):
    """Starting Ray and one trial takes a few seconds."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with joined("local"):
        waiting = {process.pid for process in psutil.Process().children(recursive=True)}
        report = report_of_a_trial(tmp_path)
    assert not ray.is_initialized()
    assert report["pid"] in waiting
    assert (report["MALLOC_ARENA_MAX"], report["OMP_NUM_THREADS"]) == ("2", "1")


def test_on_a_cluster_trials_get_the_variables_that_tune_gives_them(monkeypatch):
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    patch_ray(local_only=False)
    options = class_cache._ActorClassCache().get(type("Trainable", (), {}))._default_options
    assert options["runtime_env"]["env_vars"] == {"PL_DISABLE_FORK": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
