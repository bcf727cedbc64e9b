import dataclasses

import numpy as np
import pytest
import torch

from tests.images import write_classes, write_pairs
from tests.trainables.core.training.resumed import assert_resumed_equals_uninterrupted
from tests.waits import run_epoch_that_waits_only_to_score, waits_of_second_epoch
from trainables.core.config import ClassificationConfig, SegmentationConfig, TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.errors import ConfigError, DataError
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_frozen
from trainables.core.serving.predict_masks import count_pixels, trained_segmenter
from trainables.core.training.fit import fit
from trainables.core.training.metrics.segmentation_metrics import segmentation_metrics
from trainables.core.training.tasks import base
from trainables.core.training.tasks.segmentation import MaskScorer

BASE = {
    "task": "segmentation", "architecture": "linknet", "backbone": "mobilenetv3_small_050", "weights": "random",
    "image_size": 32, "optimizer": "adamw", "lr": 5e-3, "batch_size": 8, "epochs": 2, "device": "cpu",
    "augmentation": "flip",
}  # fmt: skip


def configured(**changes):
    return TrainConfig.from_dict(BASE | changes)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    root = write_pairs(tmp_path_factory.mktemp("pairs"), 48)
    return prepare(str(root), sizes=[32, 37], seed=0, store=tmp_path_factory.mktemp("store"))


def test_it_learns(discs):
    *_, last = fit(configured(epochs=8), discs)
    assert last.metrics["tune/dice"] > 0.8
    assert last.metrics["tune/dice"] == pytest.approx(last.metrics["tune/dice/foreground"])


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": "strong", "optimizer": "sgd", "lr": 0.1, "schedule": "cosine"},
        {"augmentation": "medical", "freeze_encoder": True, "ema_decay": 0.9, "warmup_ratio": 0.2},
    ],
    ids=lambda changes: changes["augmentation"],
)
def test_a_resumed_run_is_the_uninterrupted_one(discs, tmp_path, changes):
    assert_resumed_equals_uninterrupted(configured(epochs=3, **changes), discs, tmp_path / "checkpoint")


def test_scores_are_those_of_all_masks_counted_in_one_pass(discs):
    (epoch,) = fit(configured(epochs=1), discs)
    checkpoint = Checkpoint(epoch.state, configured(epochs=1), discs.class_names, discs.pixel_format, {})
    model = trained_segmenter(checkpoint, torch.device("cpu"))
    counts = count_pixels([model, model], discs.images(32), discs.masks(32), discs.splits["tune"], 1)
    assert counts.shape == (3, len(discs.splits["tune"]), 3)
    assert np.array_equal(counts[0], counts[1]) and np.array_equal(counts[0], counts[2])
    metrics = segmentation_metrics(counts[0].reshape(-1, 1, 3), discs.class_names)
    assert metrics == {name: epoch.metrics[f"tune/{name}"] for name in metrics}


@pytest.mark.parametrize("part", ["encoder", "decoder", "head"])
def test_frozen_parts_do_not_move_and_are_stored_once(discs, tmp_path, part):
    config = configured(**{f"freeze_{part}": True})
    first, second = (
        {name: tensor.clone() for name, tensor in epoch.state.tensors.items() if name.startswith("model.")}
        for epoch in fit(config, discs)
    )
    moved = {name.split(".")[1] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"encoder", "decoder", "head"} - {part}
    *_, last = fit(config, discs)
    checkpoint = Checkpoint(last.state, config, discs.class_names, discs.pixel_format, {})
    frozen = save_frozen(tmp_path / "frozen", last.state, config.frozen)
    assert frozen.names == {name for name in first if name.startswith(f"model.{part}.")}
    save_checkpoint(tmp_path / "c", checkpoint, frozen)
    loaded = load_checkpoint(tmp_path / "c", tmp_path / "frozen")
    assert all(torch.equal(tensor, loaded.state.tensors[name]) for name, tensor in last.state.tensors.items())


def with_two_classes(discs):
    masks = discs.masks(32) * (1 + (np.arange(48) % 2)[:, None, None])

    @dataclasses.dataclass(frozen=True)
    class TwoClasses(type(discs)):
        def decoded_masks(self, size, source):
            return masks.astype(np.uint8)

    fields = {field.name: getattr(discs, field.name) for field in dataclasses.fields(discs)}
    return TwoClasses(**fields | {"class_names": ("odd", "even")})


def test_several_classes(discs):
    *_, last = fit(configured(augmentation="medical", loss="focal+dice"), with_two_classes(discs))
    assert {"tune/dice/odd", "tune/iou/even", "train/dataset_dice"} <= last.metrics.keys()
    assert last.state.tensors["model.head.0.weight"].shape[0] == 3


WITHOUT_WAITS = [
    {"loss": "bce+dice", "augmentation": "medical", "clip_norm": 1.0},
    {"loss": "focal+dice", "architecture": "unet", "accumulate_steps": 2, "freeze_encoder": True},
]


@pytest.mark.parametrize("changes", WITHOUT_WAITS, ids=lambda changes: changes["loss"])
def test_waits_do_not_grow_with_the_number_of_batches(discs, monkeypatch, changes):
    """Only once per pass is a result read. SGD, since other optimizers keep their step on the CPU there.

    Batches are augmented as on a GPU. Several classes are tested there, because ``one_hot``, which the Dice loss calls,
    reads its input on the CPU only.
    """
    monkeypatch.setattr(base, "BATCH_AUGMENTATION", ("cpu",))
    waits = (
        waits_of_second_epoch(fit(configured(optimizer="sgd", batch_size=batch_size, **changes), discs))
        for batch_size in (12, 4)
    )
    assert next(waits) == next(waits) > 0


@pytest.mark.gpu
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("changes", WITHOUT_WAITS, ids=lambda changes: changes["loss"])
def test_a_pass_on_the_gpu_waits_only_at_its_end(discs, monkeypatch, changes, precision, several):
    data = with_two_classes(discs) if several else discs
    epochs = fit(configured(device="cuda", precision=precision, **changes), data)
    next(epochs)
    run_epoch_that_waits_only_to_score(epochs, MaskScorer, monkeypatch)


def test_images_of_classes_cannot_be_segmented(tmp_path):
    data = prepare(str(write_classes(tmp_path / "d", {"a": 20, "b": 20})), sizes=[32], seed=0, store=tmp_path / "s")
    with pytest.raises(DataError, match="needs masks"):
        next(iter(fit(configured(), data)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, "task must be one of classification, segmentation"),
        ({"architecture": "vnet"}, "architecture must be one of unet"),
        ({"head": "linear"}, "unknown key 'head'"),
        (
            {"mixup_alpha": 0.2},
            "unknown key 'mixup_alpha' for the task segmentation: only classification and multi_label can use it",
        ),
        ({"focal_gamma": 1.0}, "focal_gamma is only read when loss is focal or focal"),
        ({"batch_size": 1}, "need batch_size > 1"),
        ({"freeze_encoder": True, "freeze_decoder": True, "freeze_head": True}, "nothing would be trained"),
    ],
)
def test_refused_configurations(changes, message):
    with pytest.raises(ConfigError, match=message):
        configured(**changes)


def test_a_dict_without_a_task_is_a_classification_and_both_come_back():
    segmentation = configured(loss="focal", focal_gamma=1.0)
    assert isinstance(segmentation, SegmentationConfig)
    assert segmentation.to_dict()["task"] == "segmentation"
    assert TrainConfig.from_dict(segmentation.to_dict()) == segmentation
    shared = ("backbone", "weights", "image_size", "optimizer", "lr", "batch_size", "epochs")
    classification = TrainConfig.from_dict({key: BASE[key] for key in shared} | {"head": "linear"})
    assert isinstance(classification, ClassificationConfig)
    assert "task" not in classification.to_dict()
    assert TrainConfig.from_dict(classification.to_dict() | {"task": "classification"}) == classification
