"""Mixup and cutmix against timm's Mixup with the same random draws."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy

from trainables.core.errors import ConfigError
from trainables.core.training.fit import fit
from trainables.core.training.label_losses import binary_cross_entropy
from trainables.core.training.losses import build_loss, cross_entropy, focal
from trainables.core.training.mixing import Mix, draw_mix, main_targets, mixed_images, mixed_loss
from trainables.core.training.tasks.registry import build_task

IMAGES = torch.randint(0, 256, (6, 32, 32, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 1, 2, 2, 1, 0])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])
KINDS = [
    {"mixup_alpha": 0.4},
    {"cutmix_alpha": 1.0},
    {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
]


def timms(changes, seed, epoch, batch, monkeypatch, **options):
    """Mix a batch by timm, which draws from the generator that ``draw_mix`` uses."""
    generator = np.random.default_rng([seed, epoch, 2, batch])
    first = iter([0.0])  # whether to mix at all

    def rand():
        value = next(first, None)
        return generator.random() if value is None else value

    monkeypatch.setattr(np.random, "rand", rand)
    monkeypatch.setattr(np.random, "beta", generator.beta)
    monkeypatch.setattr(np.random, "randint", lambda low, high, size=None: generator.integers(low, high, size))
    mixer = Mixup(changes.get("mixup_alpha", 0.0), changes.get("cutmix_alpha", 0.0), num_classes=3, **options)
    return mixer(IMAGES.permute(0, 3, 1, 2).float(), TARGETS)


@pytest.mark.parametrize("changes", KINDS, ids=lambda changes: "-".join(changes))
def test_images_and_loss_are_timms(config, monkeypatch, changes):
    chosen = config(seed=7, label_smoothing=0.1, **changes)
    loss = build_loss(chosen, None)
    for batch in range(20):
        mix = draw_mix(chosen, 3, batch)
        with monkeypatch.context() as patched:
            images, soft = timms(changes, 7, 3, batch, patched, label_smoothing=0.1)
        ours = mixed_images(IMAGES, mix).float().permute(0, 3, 1, 2)
        torch.testing.assert_close(ours, images, rtol=1e-5, atol=1e-3)
        assert not torch.equal(ours, IMAGES.permute(0, 3, 1, 2).float()) or mix.share == 1
        expected = SoftTargetCrossEntropy()(LOGITS, soft)
        torch.testing.assert_close(mixed_loss(loss, LOGITS, TARGETS, mix), expected)


def test_the_loss_is_that_of_soft_targets_with_class_weights():
    """Weighted like hard targets: by the sum of the targets' class weights, of the image and of its partner."""
    mix = Mix(0.7)
    soft = 0.7 * F.one_hot(TARGETS, 3) + 0.3 * F.one_hot(TARGETS.flip(0), 3)
    expected = -(soft * WEIGHTS * LOGITS.log_softmax(1)).sum() / (soft * WEIGHTS).sum()
    ours = mixed_loss(lambda logits, targets: cross_entropy(logits, targets, WEIGHTS), LOGITS, TARGETS, mix)
    torch.testing.assert_close(ours, expected)


def test_the_loss_of_several_labels_is_that_of_soft_targets():
    targets = F.one_hot(TARGETS, 3) + F.one_hot((TARGETS + 1) % 3, 3)
    soft = 0.4 * targets + 0.6 * targets.flip(0)
    ours = mixed_loss(lambda *both: binary_cross_entropy(*both, WEIGHTS), LOGITS, targets, Mix(0.4))
    expected = F.binary_cross_entropy_with_logits(LOGITS, soft, pos_weight=WEIGHTS)
    torch.testing.assert_close(ours, expected)


def test_the_focal_loss_is_that_of_both_targets():
    ours = mixed_loss(focal, LOGITS, TARGETS, Mix(0.25))
    torch.testing.assert_close(ours, 0.25 * focal(LOGITS, TARGETS) + 0.75 * focal(LOGITS, TARGETS.flip(0)))


def test_the_main_target_has_the_larger_share():
    targets = torch.tensor([0, 1, 2])
    assert main_targets(targets, None).tolist() == main_targets(targets, Mix(0.5)).tolist() == [0, 1, 2]
    assert main_targets(targets, Mix(0.49)).tolist() == [2, 1, 0]


def test_draws_depend_on_seed_epoch_and_batch(config):
    chosen = config(mixup_alpha=1.0)
    assert draw_mix(config(), 1, 0) is None
    assert draw_mix(chosen, 1, 0) == draw_mix(chosen, 1, 0)
    others = (draw_mix(chosen, 2, 0), draw_mix(chosen, 1, 1), draw_mix(dataclasses.replace(chosen, seed=1), 1, 0))
    assert draw_mix(chosen, 1, 0) not in others


def test_both_kinds_take_turns_and_shares_follow_the_beta_distribution(config):
    """Beta(2, 2) has mean 1/2 and variance 1/20."""
    chosen = config(mixup_alpha=2.0, cutmix_alpha=1.0)
    mixes = [draw_mix(chosen, 1, batch) for batch in range(2000)]
    shares = np.array([mix.share for mix in mixes if mix.box is None])
    assert abs(len(shares) / 2000 - 0.5) < 4 * np.sqrt(0.25 / 2000)
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(0.05 / len(shares))
    assert abs(shares.var() - 0.05) < 0.01


def test_mixed_pixels_are_normalised_as_mixed_images_are(config, small_data):
    """Normalisation is affine, so mixing before it, on pixels, is timm's mixing after it."""
    model = build_task(config(), small_data, torch.device("cpu")).model
    mixed = model.normalised(mixed_images(IMAGES, Mix(0.3)))
    normalised = model.normalised(IMAGES)
    torch.testing.assert_close(mixed, 0.3 * normalised + 0.7 * normalised.flip(0), rtol=1e-4, atol=1e-5)


LOSSES = [
    {"loss": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1},
    {"loss": "focal", "class_weights": "sqrt"},
    {"loss": "ordinal"},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", LOSSES, ids=lambda changes: changes["loss"])
def test_every_loss_learns_from_mixed_images(config, small_data, changes):
    data = dataclasses.replace(small_data, ordered=True)
    chosen = config(mixup_alpha=0.4, cutmix_alpha=1.0, epochs=10, **changes)
    results = list(fit(chosen, data))
    assert max(result.metrics["tune/balanced_accuracy"] for result in results) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", "focal", "asymmetric"])
def test_labels_are_learnt_from_mixed_images(config, labelled_data, loss):
    chosen = config(task="multi_label", mixup_alpha=0.4, cutmix_alpha=1.0, epochs=8, loss=loss)
    results = list(fit(chosen, labelled_data))
    assert results[-1].metrics["tune/auroc"] > 0.8


def test_images_are_mixed_before_frozen_stages_not_their_cached_outputs(config, small_data):
    """Mixed images cannot be cached: a frozen stage sees the mixture."""
    chosen = config(backbone="mobilenetv3_small_050", freeze_depth=3, mixup_alpha=1.0)
    task = build_task(chosen, small_data, torch.device("cpu"))
    inputs, _ = next(task.train_batches(1))
    assert inputs.dtype == torch.uint8
    mix = task.mix(1, 0)
    torch.testing.assert_close(task.forward(inputs, mix), task.model(mixed_images(inputs, mix)))


def test_the_loss_and_scores_of_a_training_are_those_of_mixed_batches(config, small_data):
    """By hand for the first batch of a training with one batch an epoch."""
    chosen = config(batch_size=256, mixup_alpha=1.0, epochs=1)
    torch.manual_seed(chosen.seed)
    task = build_task(chosen, small_data, torch.device("cpu"))
    task.model.train()
    (inputs, targets), mix = next(task.train_batches(1)), draw_mix(chosen, 1, 0)
    pixels = mix.share * inputs.float() + (1 - mix.share) * inputs.flip(0).float()
    logits = task.model(pixels).detach()
    both = F.cross_entropy(logits, targets), F.cross_entropy(logits, targets.flip(0))
    metrics = next(fit(chosen, small_data)).metrics
    assert metrics["train/loss"] == pytest.approx(float(mix.share * both[0] + (1 - mix.share) * both[1]), rel=1e-5)
    wanted = targets if mix.share >= 0.5 else targets.flip(0)
    assert metrics["train/accuracy"] == pytest.approx(float((logits.argmax(1) == wanted).float().mean()))


def test_a_batch_of_one_image_cannot_be_mixed(config):
    with pytest.raises(ConfigError, match="need batch_size > 1"):
        config(batch_size=1, mixup_alpha=0.2)
