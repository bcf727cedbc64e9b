"""Training with batches that are augmented as a whole, as on a GPU."""

import pytest

from tests.images import write_pairs
from tests.trainables.core.training.resumed import assert_resumed_equals_uninterrupted
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.training.fit import fit
from trainables.core.training.tasks import base


@pytest.fixture
def augmented_in_batches(monkeypatch):
    monkeypatch.setattr(base, "BATCH_AUGMENTATION", ("cpu",))


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": "strong", "sampler": "weighted"},
        {"augmentation": "rand_augment", "random_erasing": 0.5, "mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        {"augmentation": "flip", "backbone": "mobilenetv3_small_050", "freeze_depth": 2, "batch_size": 8},
    ],
    ids=lambda changes: changes["augmentation"],
)
def test_interrupted_and_resumed_equals_uninterrupted(config, small_data, tmp_path, augmented_in_batches, changes):
    assert_resumed_equals_uninterrupted(config(epochs=3, **changes), small_data, tmp_path / "checkpoint")


@pytest.mark.slow
def test_a_segmentation_learns_and_resumes(tmp_path, augmented_in_batches):
    data = prepare(str(write_pairs(tmp_path / "pairs", 48)), sizes=[32, 37], seed=0, store=tmp_path / "store")
    segmenter = {
        "task": "segmentation", "architecture": "linknet", "backbone": "mobilenetv3_small_050", "weights": "random",
        "image_size": 32, "optimizer": "adamw", "lr": 5e-3, "batch_size": 8, "device": "cpu",
    }  # fmt: skip
    *_, last = fit(TrainConfig.from_dict(segmenter | {"augmentation": "medical", "epochs": 8}), data)
    assert last.metrics["tune/dice"] > 0.75
    strong = TrainConfig.from_dict(segmenter | {"augmentation": "strong", "epochs": 2})
    assert_resumed_equals_uninterrupted(strong, data, tmp_path / "checkpoint")


@pytest.mark.parametrize("augmentation", ["medical", "trivial_augment"])
def test_a_classifier_learns(config, small_data, augmented_in_batches, augmentation):
    *_, last = fit(config(epochs=6, augmentation=augmentation), small_data)
    assert last.metrics["tune/balanced_accuracy"] > 0.8


def test_the_cpu_draws_by_albumentations_unless_asked_otherwise(config, small_data, monkeypatch):
    chosen = config(epochs=1, augmentation="medical")
    by_default = next(fit(chosen, small_data)).metrics
    assert base.BATCH_AUGMENTATION == ("cuda",)
    monkeypatch.setattr(base, "BATCH_AUGMENTATION", ("cpu",))
    assert next(fit(chosen, small_data)).metrics != by_default


def test_cached_outputs_are_those_of_the_images_that_are_shown(config, small_data, augmented_in_batches, monkeypatch):
    """Frozen stages see the same mirror images whether their outputs are cached or not."""
    chosen = config(epochs=2, augmentation="flip", backbone="mobilenetv3_small_050", freeze_depth=2)
    monkeypatch.setattr(FrozenCache, "_worth_storing", lambda *_: True)
    cached = [epoch.metrics["train/loss"] for epoch in fit(chosen, small_data)]
    monkeypatch.setattr(FrozenCache, "table", lambda *_: None)
    assert [epoch.metrics["train/loss"] for epoch in fit(chosen, small_data)] == pytest.approx(cached, rel=1e-4)
