"""The number of trials that share a GPU. test_cluster.py has the tests that need a cluster."""

import math

import pytest

from trainables.worker.gpu_load import GpuLoad
from tuning.ray_backend.gpu_sharing import load_limits


@pytest.mark.parametrize(
    ("loads", "expected", "limit"),
    [
        ([GpuLoad(0.1, 0.3)], 3, "its time"),
        ([GpuLoad(0.4, 0.3)], 2, "its memory"),
        ([GpuLoad(0.0, 0.0)], 8, "its memory"),
        ([GpuLoad(0.1, 0.9), GpuLoad(0.2, 0.1)], 2, "its time"),  # half of the time on average
        ([GpuLoad(0.1, 0.1), GpuLoad(0.6, 0.1)], 1, "its memory"),  # the larger one fits once
        ([GpuLoad(0.1, 0.51)], 1, "its time"),
        ([GpuLoad(0.1, 0.4), GpuLoad(0.1, None)], 2, "its time"),  # the other diverged
        ([GpuLoad(0.1, None)], 1, "its time, which is unknown"),
        ([GpuLoad(0.1, 0.1), GpuLoad(1.0, None, "OutOfMemoryError: 80 GiB")], 1, "its memory"),
    ],
)
def test_memory_must_hold_the_largest_trials_and_time_suffice_for_the_average_one(loads, expected, limit):
    limits = load_limits(loads)
    assert math.floor(min(limits.values())) == expected
    assert min(limits, key=limits.get) == limit
