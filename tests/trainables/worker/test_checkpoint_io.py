"""Frozen parts are stored once for all trials of a search, also in object stores, which have no folders."""

import shutil
from pathlib import Path

import boto3
import pytest
import torch
from ray import tune

from tests.trainables.core.data.readers.test_object_store import s3  # noqa: F401
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.worker.checkpoint_io import FOLDER, read_models, restore, store_frozen


@pytest.fixture
def bucket(s3, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = boto3.resource("s3").Bucket("searches")
    bucket.create()
    return bucket


def stored(storage):
    """Store the same part for two trials; return the names of the stored files."""
    state = TrainState(1, {"model.stem.weight": torch.ones(3), "model.head.weight": torch.ones(2)}, {})
    part = store_frozen(state, ("stem.",), storage)
    assert store_frozen(state, ("stem.",), storage) == part
    assert part.names == {"model.stem.weight"}
    with tune.Checkpoint(f"{storage}/frozen/{part.sha256}").as_directory() as folder:
        return sorted(file.name for file in Path(folder).iterdir())


def test_in_a_folder(tmp_path):
    assert stored(str(tmp_path)) == ["frozen.safetensors"]
    assert len(list(tmp_path.rglob("*"))) == 3  # no partial files


def test_in_a_bucket(bucket):
    assert stored("s3://searches/mine") == ["frozen.safetensors"]
    files = [item.key for item in bucket.objects.all() if not item.key.endswith("/")]
    assert len(files) == 1


def uploaded(bucket, folder, name, checkpoint, frozen=None):
    """Write a checkpoint into a folder of the bucket, and return its URI."""
    save_checkpoint(folder / name, checkpoint, frozen)
    for file in (folder / name).iterdir():
        bucket.upload_file(str(file), f"mine/session/trial/{name}/{FOLDER}/{file.name}")
    return f"s3://searches/mine/session/trial/{name}"


@pytest.fixture
def at(config, monkeypatch):
    """A function that makes the checkpoint of an epoch; Ray itself restarts no trial from one."""
    monkeypatch.setattr(tune, "get_checkpoint", lambda: None)

    def at(epoch):
        state = TrainState(epoch, {"model.stem.weight": torch.ones(3), "model.head.weight": torch.ones(2)}, {})
        return Checkpoint(state, config(), ("a", "b"), PixelFormat(1, 255), {})

    return at


@pytest.mark.parametrize("left", ["both", "the older one", "none"])
def test_a_trial_continues_from_the_newest_folder_that_is_left(tmp_path, at, left):
    places = [tmp_path / "session-002" / "trial" / "checkpoint_0", tmp_path / "session-001" / "trial" / "checkpoint_1"]
    for place, epoch in zip(places, (2, 1), strict=True):
        save_checkpoint(place / FOLDER, at(epoch))
    for place in places[: ("both", "the older one", "none").index(left)]:
        shutil.rmtree(place.parent)
    found = restore(list(map(str, places)), str(tmp_path))
    assert (found and found.state.epoch) == {"both": 2, "the older one": 1, "none": None}[left]


def test_a_checkpoint_whose_frozen_part_is_missing_in_a_bucket_is_passed_over(bucket, tmp_path, at):
    part = store_frozen(at(2).state, ("stem.",), "s3://searches/mine")
    uploaded(bucket, tmp_path, "checkpoint_000000", at(1))
    latest = uploaded(bucket, tmp_path, "checkpoint_000001", at(2), part)
    assert restore([latest], "s3://searches/mine").state.epoch == 2
    bucket.objects.filter(Prefix="mine/frozen/").delete()
    assert restore([latest], "s3://searches/mine").state.epoch == 1
    with pytest.raises(CheckpointError, match=f"checkpoint_000001 is not a complete checkpoint: .*{part.sha256}"):
        read_models(latest)
