"""Pets in photographs (Oxford-IIIT Pet: 3,680 + 3,669 images with trimaps, in the layout torchvision downloads)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices, segmentation_choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the architecture, (frozen) encoder, loss, optimizer, schedule, batch size and augmentation."""
    architectures = ("fpn", "unet", "unetplusplus", "linknet", "pspnet", "deeplabv3", "deeplabv3plus")
    return {
        **segmentation_choices.network(trial, architectures, backbones),
        **segmentation_choices.frozen(trial),
        **segmentation_choices.mask_loss(trial, ("bce", "dice", "focal", "bce+dice", "focal+dice")),
        **choices.optimizer(trial, ("sgd", "adam", "adamw"), sgd_lr=(1e-3, 3e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine", "step")),
        **choices.batch_size(trial, (8, 16, 32)),
        **choices.augmentation(trial, ("none", "flip", "strong")),
    }


_BASE: Params = {
    "freeze_encoder": False,
    "loss": "dice",
    "optimizer": "adam",
    "adam_lr": 2e-4,
    "weight_decay": 1e-6,
    "layer_decay": 1.0,
    "clip_norm": 0.0,
    "schedule": "cosine",
    "warmup_ratio": 0.0,
    "batch_size": 16,
    "augmentation": "none",
}


def fpn_resnet34() -> Params:
    """Recipe 0. Source: the segmentation_models_pytorch example on this data set: FPN, ResNet-34, Dice, Adam at 2e-4.

    Mapping: batch size 16, as in the example's first version; the cosine schedule ends at 0 instead of 1e-5.
    """
    return {**_BASE, "architecture": "fpn", "backbone": "resnet34"}


def unet_frozen_encoder() -> Params:
    """Recipe 1. Source: most tutorials on this data set, which train a U-Net on a frozen ImageNet encoder.

    Mapping: recipe 0 with a higher learning rate, which suits a new decoder.
    """
    return {**_BASE, "architecture": "unet", "backbone": "resnet34", "freeze_encoder": True, "adam_lr": 1e-3}


SPACE = SearchSpace(
    name="pets_segmentation_space",
    title="pets against the background, masks (Oxford-IIIT Pet, torchvision's layout, --data DIR)",
    suggest=suggest,
    backbones=("resnet34", "resnet18", "resnet50", "efficientnet_b0"),
    recipes=(fpn_resnet34, unet_frozen_encoder),
    data="oxford-iiit-pet",
    image_size=256,
    epochs=10,
    num_samples=30,
    task="segmentation",
    metric="dice",
)
