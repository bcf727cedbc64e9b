import pytest

from trainables.core.config import TrainConfig
from trainables.core.errors import ConfigError

BASE = {
    "backbone": "resnet18",
    "weights": "random",
    "image_size": 64,
    "head": "linear",
    "optimizer": "adam",
    "lr": 1e-3,
    "batch_size": 8,
    "epochs": 2,
}


def test_defaults_and_whole_numbers_for_floats():
    config = TrainConfig.from_dict(BASE | {"weight_decay": 0})
    assert config.weight_decay == 0.0
    assert isinstance(config.weight_decay, float)
    assert config.freeze_depth == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentums": 0.9}, r"unknown key 'momentums' \(did you mean 'momentum'\?\)"),
        ({"momentum": 0.9}, "momentum is only read when optimizer is sgd, but optimizer is 'adam': leave it out"),
        ({"focal_gamma": 2.0}, "focal_gamma is only read when loss is focal"),
        ({"decay_rate": 0.5}, "decay_rate is only read when schedule is step or exponential"),
        ({"cycle_epochs": 2.0}, "cycle_epochs is only read when schedule is cyclic"),
        ({"hidden_dropout": 0.3}, "hidden_dropout is only read when head is mlp, but head is 'linear'"),
        ({"normalize": "batch"}, "normalize must be one of imagenet, dataset, but got 'batch'"),
        ({"head_width": 64}, "head_width is only read when head is mlp or residual or attention"),
        ({"optimizer": "sgd", "nesterov": True, "momentum": 0.0}, "nesterov needs momentum > 0"),
        ({"lr": 0.0}, "lr must be > 0 and <= 10, but got 0.0"),
        ({"lr": float("nan")}, "lr must be > 0"),
        (
            {"schedule": "step", "decay_epochs": float("inf")},
            "decay_epochs must be > 0 and finite, but got inf",
        ),
        ({"task": ["segmentation"]}, r"task must be one of .*, but got \['segmentation'\]"),
        ({"head": "mlp", "head_dropout": 1.5}, "^head_dropout must be >= 0 and < 1, but got 1.5"),
        ({"lr": "fast"}, "lr must be a float, but got 'fast'"),
        ({"batch_size": True}, "batch_size must be a int, but got True"),
        ({"epochs": 2.5}, "epochs must be a int, but got 2.5"),
        ({"clip_norm": float("inf")}, "clip_norm must be >= 0 and finite"),
        ({"head": "cosine"}, "head must be one of linear, mlp, residual, attention, but got 'cosine'"),
        ({"batch_size": 1, "head": "residual"}, "the residual head has batch norm and needs batch_size > 1"),
        (
            {"batch_size": 1, "cutmix_alpha": 1.0},
            "mixup_alpha and cutmix_alpha need batch_size > 1, but got batch_size=1",
        ),
        ({"head_epochs": 2}, "head_epochs must be less than epochs, but got head_epochs=2 and epochs=2: "),
        ({"l2_sp": 0.1}, "l2_sp needs pretrained weights, but backbone resnet18 has random ones: leave l2_sp out"),
        (
            {"l2_sp": 0.1, "weights": "pretrained", "backbone": "scratch_cnn"},
            "l2_sp needs pretrained weights, but backbone scratch_cnn has random ones",
        ),
        (
            {"l2_sp": 20.0, "lr": 0.1, "weights": "pretrained"},
            r"l2_sp \* lr must be at most 1, but got l2_sp=20 and lr=0.1",
        ),
        ({"lora_rank": 4}, "lora_rank needs pretrained weights, but backbone resnet18 has random ones"),
        ({"lora_rank": 4, "l2_sp": 0.1, "weights": "pretrained"}, "l2_sp pulls weights that lora_rank does not train"),
        ({"ema_decay": 1.0}, "ema_decay must be >= 0 and < 1, but got 1.0"),
        ({"drop_path_rate": "none"}, "drop_path_rate must be a float, but got 'none'"),
        ({"rand_augment_ops": 2}, "rand_augment_ops is only read when augmentation is rand_augment"),
        ({"architecture": "unet"}, "unknown key 'architecture' for the task classification: only segmentation can use"),
    ],
)
def test_invalid_values_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(BASE | changes)


def test_missing_keys_are_named():
    with pytest.raises(ConfigError, match="missing keys: lr, epochs"):
        TrainConfig.from_dict({key: value for key, value in BASE.items() if key not in ("lr", "epochs")})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "mlp", "head_dropout": 0.4, "hidden_dropout": 0.3, "normalize": "dataset"},
        {"schedule": "step", "decay_rate": 0.3, "label_smoothing": 0.1},
        {"augmentation": "rand_augment", "rand_augment_ops": 1, "drop_path_rate": 0.0, "ema_decay": 0.99},
        {"head": "attention", "head_dropout": 0.0, "optimizer": "sgd", "momentum": 0.5, "loss": "focal"},
    ],
)
def test_to_dict_parses_to_an_equal_config(changes):
    config = TrainConfig.from_dict(BASE | changes)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_the_attention_head_has_dropout_by_default():
    assert TrainConfig.from_dict(BASE | {"head": "attention"}).head_dropout == 0.4
    assert TrainConfig.from_dict(BASE | {"head": "mlp"}).head_dropout == 0.0


def test_hidden_dropout_of_an_mlp_defaults_to_head_dropout():
    mlp = BASE | {"head": "mlp", "head_dropout": 0.4}
    assert TrainConfig.from_dict(mlp).hidden_dropout == 0.4
    assert TrainConfig.from_dict(mlp | {"hidden_dropout": 0.3}).hidden_dropout == 0.3
    assert TrainConfig.from_dict(BASE | {"head": "mlp"}).hidden_dropout == 0.0


SEGMENTATION = {
    "task": "segmentation",
    "architecture": "unet",
    "backbone": "resnet18",
    "weights": "random",
    "image_size": 64,
    "optimizer": "adamw",
    "lr": 1e-3,
    "epochs": 1,
}


def test_half_a_batch_gives_the_same_gradients(config):
    smaller = config(batch_size=16, accumulate_steps=3).with_half_batch()
    assert (smaller.batch_size, smaller.accumulate_steps) == (8, 6)
    assert smaller.batch_size * smaller.accumulate_steps == 16 * 3


def test_no_batch_is_halved_below_what_batch_norm_needs(config):
    assert config(batch_size=3).with_half_batch() is None
    assert config(batch_size=2).with_half_batch().batch_size == 1  # a linear head has no batch norm
    assert config(batch_size=2, head="residual").with_half_batch() is None
    assert TrainConfig.from_dict({**SEGMENTATION, "batch_size": 2}).with_half_batch() is None
    assert TrainConfig.from_dict({**SEGMENTATION, "batch_size": 4}).with_half_batch().batch_size == 2


@pytest.mark.parametrize(
    ("batch_size", "accumulate_steps", "devices", "expected"),
    [(16, 1, 1, (16, 1)), (16, 1, 2, (8, 2)), (16, 2, 2, (16, 2)), (12, 1, 3, (4, 3)), (16, 6, 4, (8, 12))],
)
def test_devices_get_equally_many_batches_of_the_same_images(config, batch_size, accumulate_steps, devices, expected):
    shared = config(batch_size=batch_size, accumulate_steps=accumulate_steps).for_devices(devices)
    assert (shared.batch_size, shared.accumulate_steps) == expected
    assert shared.accumulate_steps % devices == 0
    assert shared.batch_size * shared.accumulate_steps == batch_size * accumulate_steps


@pytest.mark.parametrize(
    ("batch_size", "devices", "most", "expected"),
    [(12, 1, 12, (12, 1)), (12, 1, 11, (6, 2)), (12, 3, 3, (2, 6)), (12, 2, 1, (1, 12)), (7, 1, 5, (1, 7))],
)
def test_devices_get_the_largest_batches_that_fit_into_their_memory(config, batch_size, devices, most, expected):
    shared = config(batch_size=batch_size).for_devices(devices, most)
    assert (shared.batch_size, shared.accumulate_steps) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 15}, "batch_size=15 is not divisible by 2"),
        ({"batch_size": 2, "head": "residual"}, "batch norm"),
    ],
)
def test_a_batch_that_devices_cannot_share_is_refused(config, changes, reason):
    with pytest.raises(ConfigError, match=f"2 devices must share the .* images .* but .*{reason}.*: use fewer devices"):
        config(**changes).for_devices(2)
