import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("ray")  # a machine with a GPU and little else runs only the tests of the core
from tuning.ray_backend import gpu_classes


@pytest.mark.parametrize(
    ("memories", "expected"),  # MiB per GPU, and GPUs per class
    [
        ([], {}),
        ([11264], {}),  # a GTX 1080 Ti
        ([15360], {16: 1}),  # a T4, as nvidia-smi counts
        ([14909], {16: 1}),  # the same, as CUDA counts
        ([23034], {16: 1, 24: 1}),  # an L4
        ([40960, 40960], {16: 2, 24: 2, 32: 2, 40: 2}),  # two A100 of 40 GB
        ([46068], {16: 1, 24: 1, 32: 1, 40: 1, 48: 1}),  # an L40S
        ([81559, 23034], {16: 2, 24: 2, 32: 1, 40: 1, 48: 1, 80: 1}),  # an H100 beside an L4
    ],
)
def test_a_gpu_counts_in_every_class_that_it_is_large_enough_for(memories, expected):
    assert gpu_classes.gpu_classes_of(memories) == {f"gpu_{gb}g": count for gb, count in expected.items()}


@pytest.mark.parametrize(
    ("requested", "expected"), [(0.5, "gpu_16g"), (40, "gpu_40g"), (48, "gpu_48g"), (49, "gpu_80g")]
)
def test_a_request_gets_the_smallest_class_that_has_enough(requested, expected):
    assert gpu_classes.gpu_class_for(requested) == expected


def visible(monkeypatch, *gpus):
    """Let torch see GPUs, given by their properties; an exception is raised instead."""

    def properties(number):
        if isinstance(gpus[number], Exception):
            raise gpus[number]
        mib, is_integrated = gpus[number]
        return SimpleNamespace(total_memory=mib * 2**20, is_integrated=is_integrated)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], {}),
        ([(22579, False), (22579, False)], {"gpu_16g": 2, "gpu_24g": 2}),
        ([(14909, False)], {"gpu_16g": 1}),  # a T4
        ([(122880, True), (22579, False)], {"gpu_16g": 1, "gpu_24g": 1}),  # the first shares the CPU's memory
        ([RuntimeError("CUDA unknown error")], {}),
    ],
)
def test_whatever_torch_sees_ray_start_gets_valid_resources(monkeypatch, capsys, gpus, expected):
    visible(monkeypatch, *gpus)
    gpu_classes.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out) == expected
    assert ("CUDA failed, so this node announces no GPU classes: CUDA unknown error" in printed.err) == (
        gpus != [] and isinstance(gpus[0], Exception)
    )


def classes_of_a_process(visible_devices, path):
    """Return what ``ray start`` gets, in a process that sees only some devices."""
    command = [sys.executable, "-m", "tuning.ray_backend.gpu_classes"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible_devices, "PATH": f"{path}:{os.environ['PATH']}"}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def test_gpus_that_ray_may_not_use_count_in_no_class(tmp_path):
    """``nvidia-smi`` lists all cards of the machine, whatever this process may use."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 23034; echo 23034\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert classes_of_a_process("", tmp_path) == {}


@pytest.mark.gpu
def test_one_visible_gpu_counts_once(tmp_path):
    counts = classes_of_a_process("0", tmp_path)
    assert all(count == 1 for count in counts.values())
    assert counts or torch.cuda.get_device_properties(0).total_memory < 15 * 2**30
