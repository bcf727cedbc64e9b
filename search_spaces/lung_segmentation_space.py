"""Lung fields in chest X-rays (Montgomery and Shenzhen sets, in folders images/ and masks/)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices, segmentation_choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the architecture, encoder, loss, optimizer, schedule, batch size and augmentation."""
    return {
        **segmentation_choices.network(trial, ("unet", "unetplusplus", "linknet", "fpn", "deeplabv3plus"), backbones),
        **segmentation_choices.mask_loss(trial, ("bce", "dice", "bce+dice", "focal+dice")),
        **choices.optimizer(trial, ("sgd", "adam", "adamw"), sgd_lr=(1e-3, 3e-1), adam_lr=(1e-4, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine")),
        **choices.batch_size(trial, (4, 8, 16)),
        **choices.augmentation(trial, ("none", "flip", "medical", "strong")),
    }


_BASE: Params = {
    "loss": "bce+dice",
    "optimizer": "adam",
    "weight_decay": 1e-6,
    "layer_decay": 1.0,
    "clip_norm": 0.0,
    "schedule": "cosine",
    "warmup_ratio": 0.0,
    "batch_size": 8,
    "augmentation": "flip",
}


def unet() -> Params:
    """Recipe 0. Source: U-Net on these two sets at 256 pixels, cross-entropy plus Dice, Adam at 1e-4, batch size 8.

    Mapping: a pretrained encoder instead of training from scratch; a cosine schedule instead of drops on plateaus.
    """
    return {**_BASE, "architecture": "unet", "backbone": "resnet34", "adam_lr": 1e-4}


def linknet() -> Params:
    """Recipe 1. Source: our own runs from random weights, where a learning rate of 1e-4 is too small."""
    return {**_BASE, "architecture": "linknet", "backbone": "resnet18", "adam_lr": 2e-3}


SPACE = SearchSpace(
    name="lung_segmentation_space",
    title="lung fields in chest X-rays, masks (Montgomery and Shenzhen, --data DIR)",
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
