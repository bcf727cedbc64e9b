"""Trials with real faults. Each one strikes a worker once, in its second epoch."""

import pytest
from ray import tune

from tests.faults.training import CONFIG, AlwaysFaulty, FaultyAfterPause, FaultyDataset, FaultyInEachEpoch, run
from trainables.core.models.backbones.backbone import stage_count
from trainables.worker.checkpoint_io import read_models

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def undisturbed(cluster, small_data, tmp_path_factory):
    """The record of the same trial without a fault."""
    (record,) = run(tmp_path_factory.mktemp("undisturbed"), small_data)
    return record


def check_as_if_undisturbed(record, undisturbed):
    assert record.state == "COMPLETE"
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3]
    assert len(record.failures) == 1
    for ours, theirs in zip(record.epochs, undisturbed.epochs, strict=True):
        timeless = {"epoch_seconds": 0.0}
        assert ours.metrics | timeless == theirs.metrics | timeless


FAULTS = [
    pytest.param("raises", marks=pytest.mark.slow),
    pytest.param("is killed", marks=pytest.mark.faults),
    pytest.param("is killed before the checkpoint's rename", marks=pytest.mark.faults),
    pytest.param("hangs", marks=pytest.mark.faults),
    pytest.param("finds its checkpoint torn", marks=pytest.mark.faults),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_trial_whose_worker_fails_is_completed(undisturbed, small_data, tmp_path, fault):
    data = FaultyDataset.of(small_data, tmp_path, fault=fault)
    (record,) = run(tmp_path, data, timeout_s=30.0 if fault == "hangs" else 3600.0)
    assert data.marker.exists()
    check_as_if_undisturbed(record, undisturbed)
    # Continued after the first epoch, unless its checkpoint is damaged.
    assert data.trained() == ([1, 2, 1, 2, 3] if "torn" in fault else [1, 2, 2, 3])
    if fault == "raises":
        assert record.failures == ("RuntimeError: struck in the second epoch",)


def check_as_if_one_had_paused(records, undisturbed):
    """Of four equal trials the first two are the better half at the rung. The second reached it too early to know."""
    assert [record.state for record in records] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    assert [len(record.epochs) for record in records] == [3, 3, 1, 1]
    for ours, theirs in zip(records[1].epochs, undisturbed.epochs, strict=True):
        timeless = {"epoch_seconds": 0.0}
        assert ours.metrics | timeless == theirs.metrics | timeless


@pytest.mark.slow
def test_a_paused_trial_that_continues_equals_an_undisturbed_one(undisturbed, small_data, tmp_path):
    records = run(tmp_path, small_data, [CONFIG] * 4, concurrent=1, pruning=True)
    check_as_if_one_had_paused(records, undisturbed)
    places = [epoch.checkpoint.split("/")[-2:] for epoch in records[1].epochs]
    assert places == [
        ["trial-0001", "checkpoint_000000"],
        ["trial-0001-after-1", "checkpoint_000000"],
        ["trial-0001-after-1", "checkpoint_000001"],
    ]
    assert all(read_models(record.best.checkpoint) for record in records)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "epoch", "repeated"),
    [
        ("is killed", 2, [2]),  # before it has a checkpoint of its own
        ("is killed", 3, [3]),
        ("finds its checkpoint torn", 3, [2, 3]),  # the one at which it paused is intact
    ],
)
def test_a_trial_whose_worker_fails_after_a_pause_is_completed(
    undisturbed, small_data, tmp_path, fault, epoch, repeated
):
    data = FaultyAfterPause.of(small_data, tmp_path, fault=fault, epoch=epoch)
    records = run(tmp_path, data, [CONFIG] * 4, concurrent=1, pruning=True)
    check_as_if_one_had_paused(records, undisturbed)
    assert [len(record.failures) for record in records] == [0, 1, 0, 0]
    assert data.trained()[6:] == [*range(2, epoch + 1), *repeated, *range(epoch + 1, 4)]


@pytest.mark.faults
def test_the_best_checkpoint_replaces_a_damaged_last_one(cluster, small_data, tmp_path):
    """With a tiny learning rate the first epoch stays the best one, so its checkpoint is kept next to the last."""
    still = CONFIG | {"backbone": "resnet18", "freeze_depth": stage_count("resnet18"), "lr": 1e-30, "epochs": 4}
    (expected,) = run(tmp_path / "undisturbed", small_data, [still])
    data = FaultyDataset.of(small_data, tmp_path / "torn", fault="finds its checkpoint torn", epoch=3)
    (record,) = run(data.folder, data, [still])
    assert record.best.epoch == 1
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3, 4]
    assert [epoch.metrics["tune/loss"] for epoch in record.epochs] == [
        epoch.metrics["tune/loss"] for epoch in expected.epochs
    ]
    assert data.trained() == [1, 2, 3, 2, 3, 4]


@pytest.mark.faults
def test_a_trial_that_fails_too_often_has_failed(cluster, small_data, tmp_path):
    (record,) = run(tmp_path, AlwaysFaulty.of(small_data, tmp_path, fault="raises"), max_failures=1)
    assert record.state == "FAIL"
    assert len(record.failures) == 2


class RefusesOneEnd(tune.Callback):
    """A callback that lets the study refuse the end of the first trial once."""

    def __init__(self, steering):
        self._study, self._tell = steering.study, steering.study.tell
        self._study.tell = self._refuse

    def __getstate__(self):
        return {}

    def _refuse(self, *arguments, **more):
        self._study.tell = self._tell
        raise OSError(5, "Input/output error")


@pytest.mark.faults
@pytest.mark.parametrize("max_failures", [0, 1])
def test_a_trial_whose_end_could_not_be_written_is_completed(cluster, small_data, tmp_path, max_failures):
    records = run(tmp_path, small_data, [CONFIG] * 2, max_failures=max_failures, watch=RefusesOneEnd)
    assert [record.state for record in records] == ["COMPLETE", "COMPLETE"]
    assert [[epoch.epoch for epoch in record.epochs] for record in records] == [[1, 2, 3]] * 2


@pytest.mark.faults
def test_a_trial_that_progresses_is_retried_as_often_as_it_fails(cluster, small_data, tmp_path):
    """As on spot machines, each of which is taken away after an epoch."""
    data = FaultyInEachEpoch.of(small_data, tmp_path, fault="is killed")
    (record,) = run(tmp_path, data, max_failures=1)
    assert (record.state, len(record.failures)) == ("COMPLETE", 3)
    assert data.trained() == [1, 1, 2, 2, 3, 3]


@pytest.mark.faults
def test_a_batch_that_is_too_large_for_the_gpu_is_halved(undisturbed, small_data, tmp_path):
    data = FaultyDataset.of(small_data, tmp_path, fault="runs out of GPU memory")
    (record,) = run(tmp_path, data)
    assert record.state == "COMPLETE"
    assert record.failures == (
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. (continued with 8 images at a time)",
    )
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3]
    trained = read_models(record.epochs[-1].checkpoint)[0].config
    assert (trained.batch_size, trained.accumulate_steps) == (8, 2)
    assert data.trained() == [1, 2, 2, 3]


@pytest.mark.faults
def test_a_trial_fails_if_a_single_image_is_too_large(cluster, small_data, tmp_path):
    (record,) = run(tmp_path, AlwaysFaulty.of(small_data, tmp_path, fault="runs out of GPU memory"))
    assert record.state == "FAIL"
    assert record.failures == ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",)
