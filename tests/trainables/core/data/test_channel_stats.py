import dataclasses

import numpy as np
import pytest
import torch

from tests.images import png
from trainables.core.data.channel_stats import channel_moments
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.folds import POOL
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.serving.predict_classes import trained_classifier
from trainables.core.training.fit import fit
from trainables.core.training.tasks.classification import Classification


@pytest.fixture
def coloured(tmp_path):
    generator = np.random.default_rng(0)
    for label, name in enumerate(("a", "b")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(30):
            pixels = generator.integers(40 * label, 100, (8, 8, 3)) * [1.0, 2.0, 0.5]
            (tmp_path / "data" / name / f"{index}.png").write_bytes(png(pixels.astype(np.uint8)))
    return prepare(str(tmp_path / "data"), sizes=[16], seed=0, store=tmp_path / "store")


def test_moments_are_computed_once_on_the_training_images(coloured, monkeypatch):
    mean, std = channel_moments(coloured, 16)
    pixels = coloured.images(16)[coloured.splits["fit"]] / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)), rtol=1e-9)
    monkeypatch.setattr("trainables.core.data.channel_stats._moments", None)
    assert channel_moments(coloured, 16) == (mean, std)  # read from the cache


@pytest.mark.parametrize("number", [1, 2, 3])
def test_moments_leave_out_the_fold_and_grey_is_repeated(folded_data, number):
    mean, std = channel_moments(folded_data.fold(number), 32)
    training = np.setdiff1d(folded_data.splits[POOL], folded_data.folds[number - 1])
    pixels = folded_data.images(32)[training] / 255
    assert mean == pytest.approx([pixels.mean()] * 3) and std == pytest.approx([pixels.std()] * 3)


def test_checkpoints_and_the_frozen_cache_use_the_moments(config, small_data, tmp_path):
    ours = config(normalize="dataset", epochs=1)
    state = next(fit(ours, small_data)).state
    save_checkpoint(tmp_path / "c", Checkpoint(state, ours, small_data.class_names, small_data.pixel_format, {}))
    loaded = trained_classifier(load_checkpoint(tmp_path / "c"), torch.device("cpu"))
    normalised = loaded.normalised(torch.from_numpy(small_data.images(32)[small_data.splits["fit"]]))
    assert abs(float(normalised.mean())) < 1e-4 and float(normalised.std()) == pytest.approx(1, abs=1e-3)

    def key(normalize):
        frozen = dataclasses.replace(ours, freeze_depth=1, normalize=normalize)
        torch.manual_seed(0)
        model = Classification(frozen, small_data, torch.device("cpu")).model
        return FrozenCache(model, frozen, small_data, torch.device("cpu"))._key

    assert key("dataset") == key("dataset") != key("imagenet")
