import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import (
    Checkpoint,
    frozen_digest,
    load_checkpoint,
    save_checkpoint,
    save_frozen,
)
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.serving.predict_classes import trained_classifier


@pytest.fixture
def checkpoint(config):
    chosen = config(head="mlp", head_width=16)
    torch.manual_seed(0)
    tensors = {f"model.{name}": tensor for name, tensor in build_classifier(chosen, 3).state_dict().items()}
    return Checkpoint(
        TrainState(2, tensors, {"scale": 2.0}), chosen, ("a", "b", "c"), PixelFormat(1, 255), {"best": 0.5}
    )


def test_a_saved_checkpoint_is_loaded(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "c", checkpoint)
    loaded = load_checkpoint(tmp_path / "c")
    assert (loaded.config, loaded.class_names, loaded.pixel_format, loaded.progress) == (
        checkpoint.config,
        checkpoint.class_names,
        checkpoint.pixel_format,
        checkpoint.progress,
    )
    assert (loaded.state.epoch, loaded.state.scaler) == (2, {"scale": 2.0})
    assert all(torch.equal(loaded.state.tensors[name], tensor) for name, tensor in checkpoint.state.tensors.items())


@pytest.mark.gpu
def test_saving_takes_no_memory_of_the_gpu(checkpoint, tmp_path):
    """Weights that are stored as channels_last become contiguous, but not there."""
    tensors = {
        name: tensor.cuda().to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.cuda()
        for name, tensor in checkpoint.state.tensors.items()
    }
    on_gpu = dataclasses.replace(checkpoint, state=dataclasses.replace(checkpoint.state, tensors=tensors))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    save_checkpoint(tmp_path / "c", on_gpu)
    assert torch.cuda.max_memory_allocated() == before
    loaded = load_checkpoint(tmp_path / "c").state.tensors
    assert all(torch.equal(loaded[name], tensor) for name, tensor in checkpoint.state.tensors.items())


def test_a_checkpoint_knows_whether_its_classes_are_grades(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "c", dataclasses.replace(checkpoint, ordered=True))
    assert load_checkpoint(tmp_path / "c").ordered
    meta = json.loads((tmp_path / "c" / "state.json").read_text())
    del meta["ordered"], meta["devices"]  # as in earlier versions
    (tmp_path / "c" / "state.json").write_text(json.dumps(meta))
    assert not load_checkpoint(tmp_path / "c").ordered


def test_a_classifier_is_rebuilt_from_its_checkpoint_only(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "c", checkpoint)
    model = trained_classifier(load_checkpoint(tmp_path / "c"), torch.device("cpu"))
    assert not model.training
    assert all(torch.equal(checkpoint.state.tensors[f"model.{k}"], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("damage", ["flip", "truncate", "no meta", "torn meta", "no tensors", "other meta"])
def test_a_damaged_checkpoint_is_refused(checkpoint, tmp_path, damage):
    save_checkpoint(tmp_path / "c", checkpoint)
    tensors, meta = tmp_path / "c" / "state.safetensors", tmp_path / "c" / "state.json"
    content = bytearray(tensors.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
        tensors.write_bytes(content)
    elif damage == "truncate":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "no meta":
        meta.unlink()
    elif damage == "torn meta":
        meta.write_text(meta.read_text()[:50])
    elif damage == "no tensors":
        tensors.unlink()
    else:
        meta.write_text(json.dumps({"sha256": json.loads(meta.read_text())["sha256"]}))
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint|must have SHA-256"):
        load_checkpoint(tmp_path / "c")


def test_a_failed_write_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "c", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_the_frozen_part_is_stored_separately(checkpoint, tmp_path):
    part = save_frozen(tmp_path / "frozen", checkpoint.state, ("backbone.stages.0.", "backbone.stages.1."))
    save_checkpoint(tmp_path / "c", checkpoint, part)
    assert frozen_digest(tmp_path / "c") == part.sha256
    stored = load_file(tmp_path / "c" / "state.safetensors")
    assert not any(name.startswith(("model.backbone.stages.0.", "model.backbone.stages.1.")) for name in stored)
    assert any(name.startswith("model.backbone.stages.2.") for name in stored)
    loaded = load_checkpoint(tmp_path / "c", tmp_path / "frozen")
    assert loaded.state.tensors.keys() == checkpoint.state.tensors.keys()
    assert all(torch.equal(loaded.state.tensors[name], tensor) for name, tensor in checkpoint.state.tensors.items())
    assert save_frozen(tmp_path / "again", checkpoint.state, ("backbone.stages.0.", "backbone.stages.1.")) == part


def test_a_wrong_or_missing_frozen_part_is_refused(checkpoint, tmp_path):
    save_checkpoint(
        tmp_path / "c",
        checkpoint,
        save_frozen(tmp_path / "frozen", checkpoint.state, ("backbone.stages.0.", "backbone.stages.1.")),
    )
    save_frozen(tmp_path / "other", checkpoint.state, ("backbone.stages.0.",))
    with pytest.raises(CheckpointError, match="needs its frozen part"):
        load_checkpoint(tmp_path / "c")
    with pytest.raises(CheckpointError, match="must have SHA-256"):
        load_checkpoint(tmp_path / "c", tmp_path / "other")
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "c", tmp_path / "nowhere")
