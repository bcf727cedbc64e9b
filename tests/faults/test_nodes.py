"""Nodes that die or join during a search, on one machine."""

import time
from dataclasses import dataclass

import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster

from tests.faults.training import CONFIG, LoggedDataset, run
from tuning.ray_backend.cluster import joined

pytestmark = [pytest.mark.faults, pytest.mark.ray]


@dataclass(frozen=True)
class LocatedDataset(LoggedDataset):
    """A data set that logs the nodes on which trials start or restart, and delays each start."""

    delay_s: float = 0.0

    def watch(self):
        super().watch()
        time.sleep(self.delay_s)
        with (self.folder / "nodes.txt").open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n")

    def nodes(self):
        return list(dict.fromkeys((self.folder / "nodes.txt").read_text().split()))


class AtEpoch(tune.Callback):
    """A callback that acts once, in the driver, when a trial reports an epoch."""

    def __init__(self, epoch, act):
        self._epoch, self._act = epoch, act

    def __getstate__(self):
        return {}

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if result["epoch"] >= self._epoch and self._act is not None:
            act, self._act = self._act, None
            act()


@pytest.fixture
def cluster():
    """A head without CPUs. Its workers claim GPUs that do not exist and train on CPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_a_node_killed_during_a_trial_loses_no_trial(cluster, small_data, tmp_path):
    dying = cluster.add_node(num_cpus=2, num_gpus=2)
    configs = [CONFIG | {"epochs": 6, "seed": seed} for seed in range(2)]

    def strike():
        cluster.remove_node(dying, allow_graceful=False)
        cluster.add_node(num_cpus=2, num_gpus=1)

    data = LocatedDataset.of(small_data, tmp_path / "killed")
    with joined(cluster.address):
        records = run(data.folder, data, configs, callbacks=[AtEpoch(2, strike)])
        expected = run(tmp_path / "undisturbed", small_data, configs)
    assert len(data.nodes()) == 2
    assert any(record.failures for record in records)
    # Each trial repeats at most the epoch that was running when the node died.
    again = [len(data.trained(seed)) - len(set(data.trained(seed))) for seed in range(2)]
    assert max(again) <= 1 <= sum(again)
    for ours, theirs in zip(records, expected, strict=True):
        assert ours.state == theirs.state == "COMPLETE"
        losses = [[epoch.metrics["tune/loss"] for epoch in record.epochs] for record in (ours, theirs)]
        assert losses[0] == losses[1]


def test_a_node_that_joins_during_a_search_is_used(cluster, small_data, tmp_path):
    cluster.add_node(num_cpus=1, num_gpus=1)
    data = LocatedDataset.of(small_data, tmp_path, delay_s=4.0)
    configs = [CONFIG | {"seed": seed} for seed in range(6)]
    with joined(cluster.address):
        records = run(tmp_path, data, configs, callbacks=[AtEpoch(1, lambda: cluster.add_node(num_cpus=1, num_gpus=1))])
    assert len(data.nodes()) == 2
    assert {record.state for record in records} <= {"COMPLETE", "PRUNED"}
    assert len(records) == 6
