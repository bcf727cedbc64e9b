"""Lung fields in chest X-rays (Montgomery and Shenzhen sets): folders images/ and masks/."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices, segmentation_choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Architecture and encoder, loss, optimizer, schedule, batch size, augmentation."""
    return {
        **segmentation_choices.network(trial, ("unet", "unetplusplus", "linknet", "fpn", "deeplabv3plus"), backbones),
        **segmentation_choices.mask_loss(trial, ("bce", "dice", "bce+dice", "focal+dice")),
        **choices.optimizer(trial, ("sgd", "adam", "adamw"), sgd_lr=(1e-3, 3e-1), adam_lr=(1e-4, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine")),
        **choices.batch_size(trial, (4, 8, 16)),
        **choices.augmentation(trial, ("none", "flip", "medical", "strong")),
    }


_BASE: Params = {
    "optimizer": "adam",
    "weight_decay": 1e-6,
    "layer_decay": 1.0,
    "clip_norm": 0.0,
    "warmup_ratio": 0.0,
    "batch_size": 8,
    "augmentation": "flip",
}


def unet() -> Params:
    """Recipe 0. Source: U-Net, binary cross-entropy, Adam 1e-4, batch 8 (Ronneberger et al. 2015 on these sets).

    Mapping: with a residual encoder instead of the plain one, and a cosine schedule instead of a drop on plateaus.
    """
    return {
        **_BASE,
        "architecture": "unet",
        "backbone": "resnet34",
        "loss": "bce",
        "adam_lr": 1e-4,
        "schedule": "cosine",
    }


def linknet() -> Params:
    """Recipe 1. Source: LinkNet (Chaurasia and Culurciello 2017), a third of the operations; sum of BCE and Dice.

    Mapping: Adam at 2e-3, which random weights bear.
    """
    return {
        **_BASE,
        "architecture": "linknet",
        "backbone": "resnet18",
        "loss": "bce+dice",
        "adam_lr": 2e-3,
        "schedule": "cosine",
    }


SPACE = SearchSpace(
    name="lung_segmentation_space",
    title="lung fields in chest X-rays, masks (Montgomery and Shenzhen)",
    suggest=suggest,
    backbones=("resnet34", "resnet18", "efficientnet_b0", "mobilenetv3_large_100"),
    recipes=(unet, linknet),
    data="lungs",
    image_size=256,
    epochs=30,
    num_samples=30,
    task="segmentation",
    metric="dice",
)
