"""Several processes on the CPU against one that accumulates. Each process takes seconds to import torch and timm."""

import dataclasses

import pytest
import torch

from tests.images import write_pairs
from trainables.core.config import TrainConfig
from trainables.core.data.prepare import prepare
from trainables.core.models.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.training.cross_validation import cross_validate
from trainables.core.training.fit import fit


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Images with masks: 30 of them, of 32 pixels."""
    root = write_pairs(tmp_path_factory.mktemp("pairs"), 30)
    return prepare(str(root), sizes=[32], seed=0, store=tmp_path_factory.mktemp("store"))


def trained(epochs):
    """Return the metrics and a copy of the tensors of each epoch."""
    return [(epoch.metrics, {name: tensor.clone() for name, tensor in epoch.state.tensors.items()}) for epoch in epochs]


def check_equal(ours, theirs, tolerance=0.0):
    """Compare all metrics and tensors; running statistics of batch norm, and what they score, are rounded otherwise."""
    assert len(ours) == len(theirs) > 0
    for (metrics, tensors), (expected_metrics, expected) in zip(ours, theirs, strict=True):
        assert metrics.keys() == expected_metrics.keys()
        for name, value in expected_metrics.items():
            assert metrics[name] == pytest.approx(value, rel=max(tolerance, 1e-5), abs=1e-6), name
        assert tensors.keys() == expected.keys()
        for name, tensor in expected.items():
            relative = max(tolerance, 1e-6 if "running" in name else 0.0)
            torch.testing.assert_close(tensors[name], tensor, rtol=relative, atol=relative, msg=name)


# With two processes and two batches per step, the sums have two terms, so they are equal to the last bit. In each data
# set, the last step of an epoch has fewer batches than there are processes.
EXACT = {
    "batch norm, averaged weights and a sampler": {
        "class_weights": "balanced",
        "sampler": "weighted",
        "augmentation": "medical",
        "ema_decay": 0.9,
        "clip_norm": 1.0,
    },
    "frozen stages, and at first only the head": {
        "backbone": "mobilenetv3_small_050",
        "freeze_depth": 2,
        "head_epochs": 1,
        "augmentation": "flip",
    },
    "mixed images and a loss per label": {"task": "multi_label", "mixup_alpha": 0.4, "cutmix_alpha": 1.0},
    "half precision with a scaler": {"optimizer": "sgd", "precision": "fp16", "image_size": 16},
}
SLOW = EXACT.keys() - {"batch norm, averaged weights and a sampler"}
CASES = [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in EXACT.items()]


@pytest.mark.parametrize("changes", CASES)
def test_two_processes_equal_one(config, small_data, labelled_data, changes):
    chosen = config(epochs=2, **changes).for_devices(2)
    assert (chosen.batch_size, chosen.accumulate_steps) == (8, 2)
    data = labelled_data if changes.get("task") else small_data
    check_equal(trained(fit(chosen, data, devices=2)), trained(fit(chosen, data)))


MASKS = {
    "task": "segmentation",
    "architecture": "unet",
    "backbone": "mobilenetv3_small_050",
    "weights": "random",
    "image_size": 32,
    "augmentation": "medical",
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 4,
    "epochs": 1,
    "device": "cpu",
}


@pytest.mark.slow
def test_masks_are_trained_alike(discs):
    chosen = TrainConfig.from_dict(MASKS).for_devices(2)
    check_equal(trained(fit(chosen, discs, devices=2)), trained(fit(chosen, discs)))


@pytest.mark.slow
def test_a_process_may_have_no_batch(config, small_data):
    """An epoch has one batch, so rank 1 takes every step without gradients of its own."""
    few = dataclasses.replace(small_data, splits=small_data.splits | {"fit": small_data.splits["fit"][::9]})
    chosen = config(batch_size=8, accumulate_steps=2, precision="fp16", image_size=16)
    check_equal(trained(fit(chosen, few, devices=2)), trained(fit(chosen, few)))


@pytest.mark.slow
def test_blocks_of_several_batches_add_up(config, small_data):
    """Five batches per step: rank 0 accumulates three and rank 1 two, so sums are rounded otherwise."""
    chosen = config(epochs=1, batch_size=4, accumulate_steps=5, optimizer="sgd", lr=0.1)
    check_equal(trained(fit(chosen, small_data, devices=2)), trained(fit(chosen, small_data)), tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_continues_on_any_number_of_devices(config, small_data, tmp_path, devices):
    chosen = config(epochs=2, ema_decay=0.9).for_devices(2)
    uninterrupted = trained(fit(chosen, small_data))
    first = next(fit(chosen, small_data, devices=3 - devices))
    saved = Checkpoint(first.state, chosen, small_data.class_names, small_data.pixel_format, {})
    save_checkpoint(tmp_path / "checkpoint", saved)
    resumed = trained(fit(chosen, small_data, load_checkpoint(tmp_path / "checkpoint").state, devices))
    check_equal(resumed, uninterrupted[1:])


@pytest.mark.slow
def test_other_ranks_draw_other_dropout(config, small_data):
    """Rank 0 draws the masks of one device, so the losses differ only by those of rank 1."""
    chosen = config(epochs=1, head="mlp", head_width=64, head_dropout=0.5, hidden_dropout=0.5).for_devices(2)
    one, two = (next(fit(chosen, small_data, devices=devices)).metrics["train/loss"] for devices in (1, 2))
    assert two != one
    assert two == pytest.approx(one, rel=0.3)


@pytest.mark.slow
def test_a_fold_is_trained_alike(config, folded_data):
    chosen = config(epochs=1).for_devices(2)
    (ours,), (theirs,) = (
        [fold for fold in cross_validate(chosen, folded_data, done=2, devices=devices) if fold] for devices in (2, 1)
    )
    torch.testing.assert_close(
        torch.from_numpy(ours.pooled.probabilities), torch.from_numpy(theirs.pooled.probabilities), rtol=1e-5, atol=1e-6
    )


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_gpus_agree_with_one(config, small_data, precision):
    chosen = config(epochs=4, device="cuda", precision=precision).for_devices(2)
    *_, one = fit(chosen, small_data)
    *_, two = fit(chosen, small_data, devices=2)
    assert two.metrics["tune/loss"] == pytest.approx(one.metrics["tune/loss"], abs=0.05)
