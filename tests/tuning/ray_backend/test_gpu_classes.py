import json

import pytest

from tuning.ray_backend import gpu_classes


@pytest.mark.parametrize(
    ("memories", "expected"),  # MiB per GPU as printed by nvidia-smi, and GPUs per class
    [
        ([], {}),
        ([11264], {}),  # a GTX 1080 Ti
        ([15360], {16: 1}),  # a T4
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


def test_a_node_without_nvidia_smi_has_no_classes(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    gpu_classes.main()
    assert json.loads(capsys.readouterr().out) == {}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 23034; echo 23034", {"gpu_16g": 2, "gpu_24g": 2}),
        ("echo '[N/A]'; echo 23034", {"gpu_16g": 1, "gpu_24g": 1}),  # the first shares the CPU's memory
        ("echo '[Insufficient Permissions]'", {}),
        ("echo NVIDIA-SMI has failed because it could not communicate with the driver; exit 9", {}),
    ],
)
def test_whatever_nvidia_smi_says_ray_start_gets_valid_resources(tmp_path, monkeypatch, capsys, script, expected):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpu_classes.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out) == expected
    assert ("nvidia-smi failed" in printed.err) == ("exit" in script)
