import pytest
from rich.console import Console

from trainables.core.metric_names import Objective
from trainables.worker.gpu_load import FULL, GpuLoad
from tuning.ray_backend.cluster import joined
from tuning.ray_backend.gpu_sharing import measured_share, trials_per_gpu


@pytest.mark.parametrize(
    ("loads", "by_cpus", "expected"),
    [
        ([GpuLoad(0.1, 0.3)], 16, 3),  # its time
        ([GpuLoad(0.4, 0.3)], 16, 2),  # its memory
        ([GpuLoad(0.1, 0.3)], 2.5, 2),  # the CPUs
        ([GpuLoad(0.01, 0.02)], 16, 8),  # no more than that
        ([GpuLoad(0.0, 0.0)], 16, 8),
        ([GpuLoad(0.1, 0.9), GpuLoad(0.2, 0.1)], 16, 2),  # half of the time on average
        ([GpuLoad(0.1, 0.1), GpuLoad(0.6, 0.1)], 16, 1),  # the larger one fits once
        ([GpuLoad(0.1, 0.51)], 16, 1),
        ([GpuLoad(0.1, 0.1)], 0.5, 1),
        ([GpuLoad(0.1, 0.1), GpuLoad(0.1, None)], 16, 1),
        ([GpuLoad(0.1, 0.1), FULL], 16, 1),
    ],
)
def test_trials_share_a_gpu_as_its_memory_its_time_and_the_cpus_allow(loads, by_cpus, expected):
    assert trials_per_gpu(loads, by_cpus) == expected


@pytest.mark.ray
def test_without_a_gpu_trials_run_on_cpus(small_data, capsys):
    with joined("local") as can_grow:
        assert measured_share([], small_data, Objective("accuracy"), None, None, can_grow, Console()) == 0
    assert "no node has a GPU, so trials run on CPUs" in capsys.readouterr().out
