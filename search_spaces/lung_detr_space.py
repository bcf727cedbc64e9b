"""Lung fields in chest X-rays with a fine-tuned DETR. Needs the extra ``detr``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices, segmentation_choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search freezing, loss, AdamW with a lower rate for the ResNet, schedule, batch size and augmentation."""
    return {
        **segmentation_choices.network(trial, ("detr",), backbones),
        **segmentation_choices.frozen(trial),
        **segmentation_choices.mask_loss(trial, ("bce+dice", "focal+dice")),
        "optimizer": "adamw",
        "lr": trial.suggest_float("lr", 1e-5, 2e-3, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        "layer_decay": trial.suggest_categorical("layer_decay", [0.1, 0.3, 1.0]),
        "clip_norm": trial.suggest_categorical("clip_norm", [0.1, 1.0]),
        **choices.schedule(trial, ("constant", "cosine", "step")),
        **choices.batch_size(trial, (2, 4, 8)),
        **choices.augmentation(trial, ("none", "flip", "medical")),
    }


def detr() -> Params:
    """Recipe 0. Source: Carion et al. 2020: AdamW at 1e-4, a tenth for the ResNet, clipping at 0.1, focal + Dice.

    Mapping: batch size 4 at 256 pixels; a cosine schedule instead of a drop after two thirds; one loss per class map,
    without matching; batch norm is trained.
    """
    return {
        "architecture": "detr",
        "backbone": "detr-resnet-50-panoptic",
        "freeze_encoder": False,
        "loss": "focal+dice",
        "focal_gamma": 2.0,
        "lr": 1e-4,
        "weight_decay": 1e-4,
        "layer_decay": 0.1,
        "clip_norm": 0.1,
        "schedule": "cosine",
        "warmup_ratio": 0.0,
        "batch_size": 4,
        "augmentation": "flip",
    }


SPACE = SearchSpace(
    name="lung_detr_space",
    title="lung fields in chest X-rays, masks, by DETR (--data DIR, needs the extra detr)",
    suggest=suggest,
    backbones=("detr-resnet-50-panoptic",),
    recipes=(detr,),
    data="lungs",
    image_size=256,
    epochs=30,
    num_samples=20,
    task="segmentation",
    metric="dice",
)
