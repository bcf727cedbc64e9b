import os

import numpy as np
import pytest
import torch

from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.training.cross_validation import OutOfFold
from trainables.core.training.fold_checkpoint import (
    MANIFEST,
    PREDICTIONS,
    load_fold_checkpoint,
    parse_predictions,
    save_fold_checkpoint,
)

POOLED = OutOfFold(np.array([3, 1]), np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32))


@pytest.fixture
def models(config, tmp_path):
    folders = []
    for number in (1, 2):
        state = TrainState(3, {"model.head.weight": torch.full((2, 2), float(number))}, {})
        folders.append(tmp_path / f"model-{number}")
        save_checkpoint(folders[-1], Checkpoint(state, config(), ("a", "b"), PixelFormat(1, 255), {}))
    return folders


def test_a_saved_checkpoint_is_loaded(models, tmp_path):
    save_fold_checkpoint(tmp_path / "folds", models, POOLED)
    loaded = load_fold_checkpoint(tmp_path / "folds", load_checkpoint)
    assert [float(model.state.tensors["model.head.weight"][0, 0]) for model in loaded.models] == [1.0, 2.0]
    np.testing.assert_array_equal(loaded.pooled.images, POOLED.images)
    np.testing.assert_array_equal(loaded.pooled.probabilities, POOLED.probabilities)
    assert loaded.pooled.probabilities.dtype == np.float32


@pytest.mark.parametrize("file", [MANIFEST, PREDICTIONS, "fold-2/state.safetensors", "fold-2/state.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_an_incomplete_checkpoint_is_refused(models, tmp_path, file, damage):
    save_fold_checkpoint(tmp_path / "folds", models, POOLED)
    content = (tmp_path / "folds" / file).read_bytes()
    (tmp_path / "folds" / file).unlink()
    if damage == "truncated":
        (tmp_path / "folds" / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        load_fold_checkpoint(tmp_path / "folds", load_checkpoint)


def test_another_trials_predictions_are_refused(models, tmp_path):
    save_fold_checkpoint(tmp_path / "one", models, POOLED)
    save_fold_checkpoint(tmp_path / "other", models, OutOfFold(POOLED.images, 1 - POOLED.probabilities))
    with pytest.raises(CheckpointError, match="must have SHA-256"):
        parse_predictions((tmp_path / "one" / MANIFEST).read_bytes(), (tmp_path / "other" / PREDICTIONS).read_bytes())


def test_a_failed_write_leaves_nothing(models, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_fold_checkpoint(tmp_path / "folds", models, POOLED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-1", "model-2"]
