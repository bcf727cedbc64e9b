import dataclasses
import math

import pytest
import torch

from tests.trainables.core.training.resumed import assert_resumed_equals_uninterrupted
from tests.waits import run_epoch_that_waits_only_to_score, waits_of_second_epoch
from trainables.core.errors import ConfigError, DeviceError, NonFiniteLossError
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit
from trainables.core.training.tasks import base
from trainables.core.training.tasks.whole_images import PredictionScorer

# Small images: many CPUs emulate half precision, 80 times slower than single precision where this was measured.
FP16 = {"precision": "fp16", "image_size": 16}
PRETRAINED = "pretrained"  # stands for the folder of the fixture `pretrained`
# Together they cover every part that has a state or draws random numbers.
RESUMED = [
    {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "augmentation": "medical", "sampler": "weighted"},
    {"optimizer": "adamw", "head": "mlp", "head_dropout": 0.5, "head_width": 32, "schedule": "cyclic"},
    {"optimizer": "adam", "head": "residual", "head_width": 32, "head_dropout": 0.3, **FP16},
    {"backbone": "mobilenetv3_small_050", "freeze_depth": 2, "accumulate_steps": 2, "clip_norm": 1.0},
    {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "random_erasing": 0.5, "augmentation": "rand_augment", "ema_decay": 0.9},
    {"backbone": "mobilenetv3_small_050", "head_epochs": 2, "freeze_depth": 1, "ema_decay": 0.99, "schedule": "cosine"},
    {"backbone": "mobilenetv3_small_050", "weights": PRETRAINED, "l2_sp": 0.1, "drop_path_rate": 0.3, "head_epochs": 1},
    {"optimizer": "sgd", "augmentation": "trivial_augment", "ema_decay": 0.9, **FP16},
    {"backbone": "test_vit", "weights": PRETRAINED, "lora_rank": 2, "ema_decay": 0.9, "head_epochs": 1},
]


@pytest.mark.parametrize("changes", RESUMED)
def test_interrupted_and_resumed_equals_uninterrupted(config, small_data, tmp_path, pretrained, changes):
    if changes.get("weights") == PRETRAINED:
        changes = changes | {"weights": pretrained}
    assert_resumed_equals_uninterrupted(config(epochs=3, **changes), small_data, tmp_path / "checkpoint")


def test_it_learns_and_reports_both_splits(config, small_data):
    results = list(fit(config(epochs=6), small_data))
    assert [result.epoch for result in results] == [1, 2, 3, 4, 5, 6]
    assert results[-1].metrics["tune/balanced_accuracy"] > 0.9
    assert results[-1].metrics["tune/loss"] < results[0].metrics["tune/loss"]
    assert {"train/macro_f1", "tune/auroc", "tune/recall/few", "tune/loss"} <= results[-1].metrics.keys()
    assert all(type(value) is float for value in results[-1].metrics.values())


def test_results_do_not_depend_on_earlier_runs(config, small_data):
    chosen = config(epochs=2, augmentation="medical", head="mlp", head_dropout=0.5)
    expected = [result.metrics for result in fit(chosen, small_data)]
    list(fit(config(epochs=1, optimizer="sgd", lr=0.1, sampler="weighted"), small_data))
    assert [result.metrics for result in fit(chosen, small_data)] == expected


def test_fp16_with_a_scaler_learns_on_the_cpu(config, small_data):
    results = list(fit(config(epochs=6, **FP16), small_data))
    assert results[-1].metrics["tune/balanced_accuracy"] > 0.9
    assert results[-1].state.scaler["scale"] > 0


@pytest.mark.slow
def test_bf16_learns_on_the_cpu(config, small_data):
    assert list(fit(config(epochs=6, precision="bf16"), small_data))[-1].metrics["tune/balanced_accuracy"] > 0.9


def test_a_diverging_loss_raises_a_named_error(config, small_data):
    with pytest.raises(NonFiniteLossError, match="loss became .* in epoch"):
        list(fit(config(optimizer="sgd", lr=10.0, momentum=0.99, head="mlp", epochs=8), small_data))


@pytest.mark.parametrize("images", [16, 14])  # two halves, and a last batch of 6
@pytest.mark.parametrize(
    "changes", [{}, {"class_weights": "balanced"}, {"class_weights": "balanced", "loss": "focal"}], ids=str
)
def test_accumulation_equals_a_larger_batch(config, small_data, images, changes):
    """On a network without batch statistics, parts of a batch give the gradient of the whole.

    One step at learning rate 1 shows the gradient itself; over several steps rounding would grow with the weights.
    """
    few = dataclasses.replace(small_data, splits={**small_data.splits, "fit": small_data.splits["fit"][::4][:images]})
    base = {"optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "epochs": 1, "backbone": "torchvision:squeezenet1_1"}
    base |= changes
    torch.manual_seed(0)
    initial = {name: tensor.detach() for name, tensor in build_classifier(config(**base), 3).named_parameters()}
    whole = next(fit(config(batch_size=images, **base), few)).state.model_tensors()
    halves = next(fit(config(batch_size=8, accumulate_steps=2, **base), few)).state.model_tensors()
    for name, before in initial.items():
        gradient, accumulated = before - whole[name], before - halves[name]
        largest = float(gradient.abs().max())
        assert largest > 0
        torch.testing.assert_close(accumulated, gradient, rtol=0, atol=1e-3 * largest)


def test_frozen_stages_do_not_change_by_a_bit(config, small_data):
    chosen = config(backbone="mobilenetv3_small_050", freeze_depth=3, epochs=2, lr=0.01)
    torch.manual_seed(chosen.seed)
    before = {
        name: tensor.clone() for name, tensor in build_classifier(chosen, 3).backbone.stages[:3].state_dict().items()
    }
    after = list(fit(chosen, small_data))[-1].state.model_tensors()
    assert before
    assert all(torch.equal(after[f"backbone.stages.{name}"], tensor) for name, tensor in before.items())


def test_learning_rates_follow_the_schedule_and_the_layers(config, small_data, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def spy(optimizer, *arguments):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    chosen = config(
        optimizer="sgd", lr=0.1, layer_decay=0.5, schedule="step", decay_rate=0.1, decay_epochs=1.0, epochs=2
    )
    list(fit(chosen, small_data))
    per_epoch = len(rates) // 2
    assert sorted(set(rates[0]), reverse=True) == pytest.approx([0.1 * 0.5**k for k in range(len(set(rates[0])))])
    assert max(rates[0]) == 0.1
    assert max(rates[per_epoch]) == pytest.approx(0.01)


def test_a_freeze_depth_beyond_the_stages_is_refused(config, small_data):
    with pytest.raises(ConfigError):
        next(fit(config(freeze_depth=99), small_data))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a usable GPU")
def test_a_gpu_that_torch_cannot_use_is_an_error(config, small_data):
    with pytest.raises(DeviceError, match="a GPU was requested but torch .* cannot use it: "):
        next(fit(config(device="cuda"), small_data))


WITHOUT_WAITS = [
    {"loss": "cross_entropy", "label_smoothing": 0.1, "class_weights": "balanced", "clip_norm": 1.0},
    {"loss": "focal", "sampler": "weighted", "augmentation": "medical", "accumulate_steps": 2},
    {"loss": "ordinal", "backbone": "mobilenetv3_small_050", "freeze_depth": 2, "augmentation": "flip"},
    {"loss": "cross_entropy", "mixup_alpha": 0.4, "cutmix_alpha": 1.0, "random_erasing": 0.5, "ema_decay": 0.9},
]


@pytest.mark.parametrize("augmented_in_batches", [False, True])
@pytest.mark.parametrize("changes", WITHOUT_WAITS, ids=lambda changes: "-".join(list(changes)[:2]))
def test_waits_do_not_grow_with_the_number_of_batches(config, small_data, monkeypatch, changes, augmented_in_batches):
    """Only once per pass is a result read. SGD, since other optimizers keep their step on the CPU there."""
    if augmented_in_batches:
        monkeypatch.setattr(base, "BATCH_AUGMENTATION", ("cpu",))
    few = {"fit": small_data.splits["fit"][::3], "tune": small_data.splits["tune"][::2]}
    data = dataclasses.replace(small_data, splits=small_data.splits | few, ordered=True)
    waits = (
        waits_of_second_epoch(fit(config(optimizer="sgd", batch_size=batch_size, epochs=2, **changes), data))
        for batch_size in (12, 4)
    )
    assert next(waits) == next(waits) > 0


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("changes", WITHOUT_WAITS, ids=lambda changes: "-".join(list(changes)[:2]))
def test_a_pass_on_the_gpu_waits_only_at_its_end(config, small_data, monkeypatch, changes, precision):
    data = dataclasses.replace(small_data, ordered=True)
    epochs = fit(config(device="cuda", precision=precision, epochs=2, **changes), data)
    next(epochs)
    run_epoch_that_waits_only_to_score(epochs, PredictionScorer, monkeypatch)


@pytest.mark.gpu
def test_training_on_the_gpu_agrees_with_the_cpu(config, small_data):
    on_cpu = list(fit(config(epochs=4, precision="fp32"), small_data))[-1].metrics
    on_gpu = list(fit(config(epochs=4, precision="fp32", device="cuda"), small_data))[-1].metrics
    assert on_gpu["tune/loss"] == pytest.approx(on_cpu["tune/loss"], abs=0.05)
    mixed = list(fit(config(epochs=4, device="cuda"), small_data))[-1].metrics
    assert math.isfinite(mixed["tune/loss"])
    assert mixed["tune/balanced_accuracy"] > 0.8


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("augmentation", ["none", "strong"])
def test_runs_and_a_resumed_run_on_the_gpu_agree(config, small_data, precision, augmentation):
    """Sums on CUDA are not deterministic, so runs agree within a tolerance, far below the effect of another seed."""
    chosen = config(epochs=3, device="cuda", precision=precision, augmentation=augmentation, head_dropout=0.5)
    expected, again = ([result.metrics["tune/loss"] for result in fit(chosen, small_data)] for _ in range(2))
    interrupted = next(fit(chosen, small_data))
    resumed = [result.metrics["tune/loss"] for result in fit(chosen, small_data, interrupted.state)]
    assert again == pytest.approx(expected, rel=0.02)
    assert resumed == pytest.approx(expected[1:], rel=0.02)


@pytest.mark.gpu
def test_fp16_with_clipping_and_accumulation_agrees_with_fp32(config, small_data):
    """Scaled gradients must be unscaled once per step, before they are clipped."""
    changes = {"epochs": 3, "device": "cuda", "batch_size": 8, "accumulate_steps": 2, "clip_norm": 0.1}
    half, single = (
        [result.metrics["tune/loss"] for result in fit(config(precision=precision, **changes), small_data)]
        for precision in ("fp16", "fp32")
    )
    assert half == pytest.approx(single, rel=0.1)
