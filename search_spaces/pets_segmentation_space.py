"""Pets in photographs (Oxford-IIIT Pet: 3,680 + 3,669 images with trimaps), as torchvision downloads it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices, segmentation_choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Architecture, encoder and whether it is frozen, loss, optimizer, schedule, batch size, augmentation."""
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
    "weight_decay": 1e-6,
    "layer_decay": 1.0,
    "clip_norm": 0.0,
    "warmup_ratio": 0.0,
    "batch_size": 16,
    "augmentation": "none",
}


def fpn_resnet34() -> Params:
    """Recipe 0. Source: segmentation_models_pytorch's binary example, first version: FPN, ResNet-34, Dice, Adam 1e-4.

    Mapping: direct; the source trains 5 epochs at 256 pixels and reports a data set IoU of 0.91.
    """
    return {**_BASE, "architecture": "fpn", "backbone": "resnet34", "adam_lr": 1e-4, "schedule": "constant"}


def unet_resnet34() -> Params:
    """Recipe 1. Source: the same example's second version: U-Net, ResNet-34, Dice, Adam 2e-4, cosine to 1e-5.

    Mapping: the cosine ends at 0.
    """
    return {**_BASE, "architecture": "unet", "backbone": "resnet34", "adam_lr": 2e-4, "schedule": "cosine"}


SPACE = SearchSpace(
    name="pets_segmentation_space",
    title="pets against the background, masks (Oxford-IIIT Pet, torchvision's layout)",
    suggest=suggest,
    backbones=("resnet34", "resnet18", "resnet50", "efficientnet_b0"),
    recipes=(fpn_resnet34, unet_resnet34),
    data="oxford-iiit-pet",
    image_size=256,
    epochs=10,
    num_samples=30,
    task="segmentation",
    metric="dice",
)
