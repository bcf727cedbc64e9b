"""Trials that two processes on the CPU train together, as two GPUs would."""

import multiprocessing
import os
import time
from dataclasses import dataclass

import pytest

from tests.faults.training import CONFIG, FaultyDataset, run
from trainables.core.config import TrainConfig

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class WatchedRanks(FaultyDataset):
    """A data set that logs the processes of the ranks other than 0."""

    def watch(self):
        super().watch()
        if multiprocessing.parent_process() is not None:
            (self.folder / f"rank-of-{os.getpid()}").touch()

    def running(self):
        """Return which of them still run, after waiting up to 30 seconds for their end."""
        processes = [int(file.name.rpartition("-")[2]) for file in self.folder.glob("rank-of-*")]
        assert processes
        deadline = time.monotonic() + 30
        while (running := list(filter(is_running, processes))) and time.monotonic() < deadline:
            time.sleep(0.1)
        return running


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def undisturbed(cluster, small_data, tmp_path_factory):
    """The record of a trial that one process trains, with as many images at a time."""
    config = TrainConfig.from_dict(CONFIG).for_devices(2).to_dict()
    (record,) = run(tmp_path_factory.mktemp("undisturbed"), small_data, [config])
    return record


def check_alike(record, undisturbed):
    assert len(record.epochs) == len(undisturbed.epochs) == 3
    for ours, theirs in zip(record.epochs, undisturbed.epochs, strict=True):
        timeless = {"epoch_seconds": 0.0}
        assert ours.metrics | timeless == pytest.approx(theirs.metrics | timeless, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_a_trial_reports_as_on_one_device_and_a_paused_one_leaves_no_process(undisturbed, small_data, tmp_path):
    """The second trial runs in the same worker process, and falls behind at the first rung."""
    data = WatchedRanks.of(small_data, tmp_path, epoch=0)  # no fault
    records = run(tmp_path, data, [CONFIG, CONFIG | {"lr": 1e-9}], concurrent=1, pruning=True, devices=2)
    assert [record.state for record in records] == ["COMPLETE", "PRUNED"]
    assert [len(record.epochs) for record in records] == [3, 1]
    check_alike(records[0], undisturbed)
    assert not data.running()


@pytest.mark.faults
def test_a_trial_whose_worker_is_killed_continues_and_leaves_no_process(undisturbed, small_data, tmp_path):
    data = WatchedRanks.of(small_data, tmp_path, fault="is killed")
    (record,) = run(tmp_path, data, devices=2)
    assert data.marker.exists()
    assert (record.state, len(record.failures)) == ("COMPLETE", 1)
    check_alike(record, undisturbed)
    assert not data.running()
