"""Dementia stages from brain MRI slices (Falah/Alzheimer_MRI: 4 classes, 5,120 + 1,280 images, 50 : 1 imbalance)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import alzheimer_recipes as recipes
from search_spaces import choices
from search_spaces.portfolio import portfolio
from search_spaces.space import Config, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the backbone, freeze depth, head, imbalance, optimizer, schedule, batch size and augmentation."""
    return {
        **choices.backbone(trial, backbones, frozen_quarters=(0, 1, 2, 3, 4)),
        **choices.head(trial, heads=("linear", "mlp", "residual", "attention"), most_dropout=0.6),
        **choices.class_weights(trial, ("none", "balanced", "sqrt", "effective", "boosted", "frequency")),
        **choices.sampler(trial, ("shuffle", "weighted", "sqrt")),
        **choices.loss(trial, ("cross_entropy", "focal")),
        **choices.optimizer(trial, ("sgd", "adam", "adamw"), sgd_lr=(1e-4, 3e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine", "step", "exponential", "cyclic")),
        **choices.batch_size(trial, (16, 32, 64)),
        **choices.augmentation(trial, ("none", "flip", "medical", "strong")),
    }


SPACE = SearchSpace(
    name="alzheimer_space",
    title="dementia stages from brain MRI slices, 4 classes (Falah/Alzheimer_MRI)",
    suggest=suggest,
    backbones=(
        *("resnet50", "efficientnet_b2", "densenet121", "resnet18", "vit_small_patch16_224"),
        *choices.MODERN_BACKBONES,
    ),
    recipes=(
        recipes.resnet50_mlp,
        recipes.with_augmentation,
        recipes.with_weighted_sampler,
        recipes.efficientnet_b2_partly_frozen,
        recipes.residual_head,
        recipes.without_augmentation,
        recipes.frequency_weights,
        recipes.with_sgd,
        recipes.attention_head,
    ),
    portfolio=portfolio(without="alzheimer_mri"),
    data="Falah/Alzheimer_MRI",
    image_size=224,
    epochs=20,
    num_samples=50,
    healthy="Non_Demented",
    ordered=("Non_Demented", "Very_Mild_Demented", "Mild_Demented", "Moderate_Demented"),
)
