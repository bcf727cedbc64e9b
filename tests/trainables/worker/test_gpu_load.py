"""The load of a trial on a GPU. ``nvidia-smi`` is a script; its real one runs in the test marked gpu."""

import dataclasses
import time

import pytest
import torch

pytest.importorskip("ray")  # a machine with a GPU and little else runs only the tests of the core
from trainables.core.device import allocatable_share, required_share
from trainables.core.metric_names import Objective
from trainables.worker.gpu_load import measure_load, utilization

GIB = 2**30


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 90; echo 40; echo 60; exec sleep 60", [0.4, 0.6]),  # the first is from before the block
        ("echo '[N/A]'; echo '[N/A]'; exec sleep 60", []),
        ("echo 'No devices were found'; exit 6", []),
        (None, []),
    ],
)
def test_utilization_is_read_until_the_block_ends(tmp_path, monkeypatch, script, expected):
    if script:
        (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n{script}\n')
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if script else str(tmp_path))
    readings = []
    with utilization("GPU-1", readings):
        time.sleep(0.5)
    assert readings == expected
    assert not script or "-i GPU-1 --loop-ms=200" in (tmp_path / "arguments").read_text()


@pytest.mark.parametrize("tensors", [GIB // 10, GIB, 10 * GIB, 23 * GIB])
def test_the_required_share_of_a_gpu_is_the_smallest_in_which_the_tensors_fit(monkeypatch, tensors):
    total = 24 * GIB
    properties = dataclasses.make_dataclass("Properties", ["total_memory"])(total)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    share = required_share(tensors, torch.device("cuda"))
    assert allocatable_share(share, total) * total == pytest.approx(tensors)
    assert required_share(total, torch.device("cuda")) == 1


@pytest.mark.gpu
def test_images_that_a_trial_could_move_to_the_gpu_are_no_need_of_it(small_data, config):
    """On a whole GPU they may take a quarter of its memory; the more trials share it, the less."""
    load = measure_load(config(epochs=2).to_dict(), small_data, Objective("accuracy"), 600, None)
    assert load.memory < 1 / 8 + 0.01
    assert torch.cuda.get_per_process_memory_fraction() < 1 / 8


@pytest.mark.gpu
def test_a_small_trial_leaves_most_of_a_gpu_free(small_data, config):
    short, long = (
        measure_load(config(epochs=epochs).to_dict(), small_data, Objective("accuracy"), 600, None)
        for epochs in (1, 1000)
    )
    assert all(0 < load.memory < 0.5 for load in (short, long))
    assert 0 <= long.busy <= 1


@pytest.mark.gpu
def test_of_a_trial_that_diverges_the_memory_is_known(small_data, config):
    load = measure_load(config(lr=1e30).to_dict(), small_data, Objective("accuracy"), 600, None)
    assert 0 < load.memory < 0.5
    assert (load.busy, load.failure) == (None, None)
