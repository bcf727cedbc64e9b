"""A small search on built-in phantoms that takes a few minutes on a laptop, without a download or a GPU."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the backbone, head, imbalance, learning rate and augmentation. Nothing is frozen: weights are random."""
    return {
        **choices.backbone(trial, backbones, frozen_quarters=(0,)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.6),
        **choices.class_weights(trial, ("none", "balanced", "sqrt")),
        **choices.sampler(trial, ("shuffle", "weighted", "sqrt")),
        **choices.augmentation(trial, ("none", "flip")),
        **choices.batch_size(trial, (16, 32)),
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-4, 3e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine"]),
        "warmup_ratio": 0.1,
    }


def small_cnn() -> Params:
    """Recipe 0. A small CNN with a reasonable learning rate and balanced sampling."""
    return {
        "backbone": "scratch_cnn",
        "frozen_quarters": 0,
        "head": "linear",
        "head_dropout": 0.0,
        "augmentation": "flip",
        "class_weights": "none",
        "sampler": "sqrt",
        "lr": 3e-3,
        "weight_decay": 1e-3,
        "schedule": "cosine",
        "batch_size": 32,
    }


SPACE = SearchSpace(
    name="demo_space",
    title="built-in synthetic phantoms, small networks from random weights, on the CPU",
    suggest=suggest,
    backbones=("scratch_cnn", "mobilenetv3_small_050"),
    recipes=(small_cnn,),
    data="phantoms",
    image_size=64,
    epochs=9,
    num_samples=12,
    weights="random",
    healthy="phantom_none",
)
