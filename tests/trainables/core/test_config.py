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
        ({"lr": "fast"}, "lr must be a float, but got 'fast'"),
        ({"batch_size": True}, "batch_size must be a int, but got True"),
        ({"epochs": 2.5}, "epochs must be a int, but got 2.5"),
        ({"clip_norm": float("inf")}, "clip_norm must be >= 0"),
        ({"head": "cosine"}, "head must be one of linear, mlp, residual, attention, but got 'cosine'"),
        ({"batch_size": 1, "head": "residual"}, "the residual head has batch norm and needs batch_size > 1"),
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
