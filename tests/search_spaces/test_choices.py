import optuna
import pytest

from search_spaces import choices
from trainables.core.config import TrainConfig

BASE = {
    "weights": "pretrained",
    "image_size": 64,
    "head": "linear",
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 8,
    "epochs": 5,
}


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "cross_entropy", "label_smoothing": 0.1},
        {"loss": "focal", "focal_gamma": 1.5},
        {"loss": "ordinal"},
    ],
)
def test_a_loss_comes_with_its_own_parameter(params):
    assert choices.loss(optuna.trial.FixedTrial(params), ("cross_entropy", "focal", "ordinal")) == params


def test_rand_augment_comes_with_its_parameters():
    params = {"augmentation": "rand_augment", "rand_augment_ops": 2, "rand_augment_magnitude": 9}
    assert choices.augmentation(optuna.trial.FixedTrial(params), ("flip", "rand_augment")) == params
    assert choices.augmentation(optuna.trial.FixedTrial({"augmentation": "flip"}), ("flip",)) == {
        "augmentation": "flip"
    }


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("none", ()),
        ("mixup", ("mixup_alpha",)),
        ("cutmix", ("cutmix_alpha",)),
        ("both", ("mixup_alpha", "cutmix_alpha")),
    ],
)
def test_mixing_suggests_the_alphas_of_its_kind(kind, keys):
    alphas = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}
    trial = optuna.trial.FixedTrial({"mixing": kind, **alphas})
    assert choices.mixing(trial, ("none", "mixup", "cutmix", "both")) == {key: alphas[key] for key in keys}


@pytest.mark.parametrize(
    ("backbone", "freeze_depth", "keys"),
    [
        ("resnet18", 0, {"head_epochs", "drop_path_rate", "l2_sp"}),
        ("resnet18", 99, set()),
        ("torchvision:resnet18", 1, {"head_epochs", "l2_sp"}),
        ("scratch_cnn", 0, {"head_epochs"}),
        ("vit_tiny_patch16_224", 0, {"head_epochs", "drop_path_rate", "lora_rank"}),
    ],
)
def test_fine_tuning_suggests_what_a_backbone_can_use(backbone, freeze_depth, keys):
    trial = optuna.trial.FixedTrial({"head_epochs": 2, "drop_path_rate": 0.2, "l2_sp": 0.01, "lora_rank": 4})
    chosen = {"backbone": backbone, "freeze_depth": freeze_depth}
    options = {"most_head_epochs": 3, "most_drop_path": 0.3, "l2_sp": (0.0, 0.01), "lora_ranks": (0, 4)}
    assert choices.fine_tuning(trial, chosen, **options).keys() == keys


def test_suggestions_of_regularisation_are_keys_of_a_configuration():
    """Drawn at random, every combination parses."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(100):
        trial = study.ask()
        chosen = choices.backbone(trial, ("resnet18", "torchvision:resnet18"), frozen_quarters=(0, 2, 4))
        config = {
            **chosen,
            **choices.fine_tuning(trial, chosen, most_head_epochs=3, most_drop_path=0.3, l2_sp=(0.0, 0.01)),
            **choices.augmentation(trial, ("flip", "trivial_augment", "rand_augment")),
            **choices.random_erasing(trial, 0.5),
            **choices.mixing(trial, ("none", "mixup", "cutmix", "both")),
            **choices.weight_average(trial, (0.0, 0.99)),
        }
        seen |= config.keys()
        TrainConfig.from_dict(BASE | config)
    assert len(seen) == 12
