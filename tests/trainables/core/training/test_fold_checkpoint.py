import os

import numpy as np
import pytest
import torch

from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.training.cross_validation import OutOfFold
from trainables.core.training.fold_checkpoint import MANIFEST, PREDICTIONS, load_folded, parse_predictions, save_folded

POOLED = OutOfFold(np.array([3, 1]), np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32))


@pytest.fixture
def models(config, tmp_path):
    folders = []
    for number in (1, 2):
        state = TrainState(3, {"model.head.weight": torch.full((2, 2), float(number))}, {})
        folders.append(tmp_path / f"model-{number}")
        save_checkpoint(folders[-1], Checkpoint(state, config(), ("a", "b"), PixelFormat(1, 255), {}))
    return folders


def test_what_is_saved_is_loaded(models, tmp_path):
    save_folded(tmp_path / "whole", models, POOLED)
    found = load_folded(tmp_path / "whole", load_checkpoint)
    assert [float(model.state.tensors["model.head.weight"][0, 0]) for model in found.models] == [1.0, 2.0]
    np.testing.assert_array_equal(found.pooled.images, POOLED.images)
    np.testing.assert_array_equal(found.pooled.probabilities, POOLED.probabilities)
    assert found.pooled.probabilities.dtype == np.float32


@pytest.mark.parametrize("file", [MANIFEST, PREDICTIONS, "fold-2/state.safetensors", "fold-2/state.json"])
@pytest.mark.parametrize("harm", ["torn", "gone"])
def test_what_is_not_whole_is_refused(models, tmp_path, file, harm):
    save_folded(tmp_path / "whole", models, POOLED)
    content = (tmp_path / "whole" / file).read_bytes()
    (tmp_path / "whole" / file).unlink()
    if harm == "torn":
        (tmp_path / "whole" / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        load_folded(tmp_path / "whole", load_checkpoint)


def test_another_trials_predictions_are_refused(models, tmp_path):
    save_folded(tmp_path / "one", models, POOLED)
    save_folded(tmp_path / "other", models, OutOfFold(POOLED.images, 1 - POOLED.probabilities))
    with pytest.raises(CheckpointError, match="must have SHA-256"):
        parse_predictions((tmp_path / "one" / MANIFEST).read_bytes(), (tmp_path / "other" / PREDICTIONS).read_bytes())


def test_it_appears_whole_or_not_at_all(models, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_folded(tmp_path / "whole", models, POOLED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model-1", "model-2"]
