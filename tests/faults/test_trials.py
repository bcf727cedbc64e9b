"""Trials that go wrong, for real: each fault strikes a worker in its second epoch, once."""

import math
import os
import signal
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import ray

from analysis.trials import read_trials
from trainables.core.data.cache import Dataset
from tuning.cluster import Resources, joined
from tuning.search import build_tuner
from tuning.storage import open_study, study_storage
from tuning.study import Steering

METRIC = "balanced_accuracy"
CONFIG = {
    "backbone": "scratch_cnn",
    "weights": "random",
    "image_size": 32,
    "head": "linear",
    "freeze_depth": 1,
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 16,
    "epochs": 3,
    "seed": 0,
}
CALLS_AN_EPOCH = 2  # of images(): one to train, one to score


@dataclass(frozen=True)
class FaultyDataset(Dataset):
    """A data set whose pixels, asked for in the second epoch, bring the worker down, unless the marker is there."""

    fault: str = ""
    marker: Path = Path()

    def images(self, size):
        calls = self.__dict__.setdefault("_calls", [])
        calls.append(size)
        if len(calls) > CALLS_AN_EPOCH and not self.marker.exists():
            self.marker.touch()
            if self.fault == "raises":
                raise RuntimeError("struck in the second epoch")
            if self.fault == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "hangs":
                time.sleep(3600)
            if self.fault == "finds its checkpoint torn":
                (torn,) = self.marker.parent.rglob("checkpoint_000000/checkpoint/state.safetensors")
                torn.write_bytes(torn.read_bytes()[:1000])
                raise RuntimeError("struck in the second epoch")
        return super().images(size)


@pytest.fixture(scope="module")
def cluster():
    with joined("local"):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def undisturbed(cluster, small_data, tmp_path_factory):
    """The trial that nothing happened to."""
    (record,) = run(tmp_path_factory.mktemp("undisturbed"), small_data)
    return record


def run(folder, data, timeout_s=3600.0, max_failures=1):
    study = open_study(study_storage(folder, None), "search", METRIC, 3, seed=0)
    steering = Steering(study, METRIC, 3, 1, None, math.inf, lambda trial: CONFIG, str(folder))
    build_tuner(steering, data, Resources(1, 0), "session-001", max_failures, timeout_s, []).fit()
    return read_trials(study)


def faulty(data, fault, folder):
    plain = {field.name: getattr(data, field.name) for field in fields(Dataset)}
    return FaultyDataset(**plain, fault=fault, marker=folder / "struck")


@pytest.mark.parametrize("fault", ["raises", "is killed", "hangs", "finds its checkpoint torn"])
def test_a_trial_whose_worker_goes_down_comes_to_its_end(undisturbed, small_data, tmp_path, fault):
    data = faulty(small_data, fault, tmp_path)
    (record,) = run(tmp_path, data, timeout_s=15.0 if fault == "hangs" else 3600.0)
    assert data.marker.exists()
    assert record.state == "COMPLETE"
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3]
    assert len(record.failures) == 1
    if fault == "raises":
        assert record.failures == ("RuntimeError: struck in the second epoch",)
    for ours, theirs in zip(record.epochs, undisturbed.epochs, strict=True):
        timeless = {"epoch_seconds": 0.0}
        assert ours.metrics | timeless == theirs.metrics | timeless


def test_a_trial_that_fails_too_often_has_failed_with_its_reason(cluster, small_data, tmp_path):
    data = replace(faulty(small_data, "raises", tmp_path), marker=tmp_path / "no folder" / "struck")
    (record,) = run(tmp_path, data, max_failures=1)
    assert record.state == "FAIL"
    assert len(record.failures) == 2
