"""Pneumonia from chest X-rays (Kermany et al. 2018, Kaggle's "Chest X-Ray Pneumonia": 2 classes, 1 : 3).

Its test images are of another kind than its training images, so ``tune`` and ``select`` cannot warn of a model that has
learnt the ways of the latter. The space stays near what its publications agree on: early stages frozen, images varied.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Backbone and freeze depth, head, imbalance, optimizer, schedule, batch size, augmentation."""
    return {
        **choices.backbone(trial, backbones, frozen_quarters=(2, 3, 4)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.6, both_dropouts=True),
        **choices.class_weights(trial, ("none", "balanced", "boosted")),
        **choices.sampler(trial, ("shuffle", "weighted")),
        **choices.optimizer(trial, ("sgd", "adam", "adamw"), sgd_lr=(1e-4, 1e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine", "step")),
        **choices.batch_size(trial, (16, 32, 64)),
        **choices.augmentation(trial, ("medical", "strong")),
    }


def resnet50() -> Params:
    """Recipe 0. Source: ResNet-50, all frozen but ``layer4`` and the head (dropout 0.4, 512, ReLU, dropout 0.3).

    The rarer class's weight times 1.3, strong augmentation, cosine, clipping at 1, mixed precision (the default
    where there is a GPU). Mapping: three quarters of the stages frozen end before ``layer4``; what the source leaves
    open is Adam at 1e-4, batch 32, weight decay 1e-4.
    """
    return {
        "backbone": "resnet50",
        "frozen_quarters": 3,
        "head": "mlp",
        "head_dropout": 0.4,
        "hidden_dropout": 0.3,
        "class_weights": "boosted",
        "sampler": "shuffle",
        "optimizer": "adam",
        "adam_lr": 1e-4,
        "weight_decay": 1e-4,
        "layer_decay": 1.0,
        "clip_norm": 1.0,
        "schedule": "cosine",
        "warmup_ratio": 0.0,
        "batch_size": 32,
        "augmentation": "strong",
    }


def resnet101() -> Params:
    """Recipe 1. Source: the same with ResNet-101. Mapping: direct."""
    return {**resnet50(), "backbone": "resnet101"}


def densenet121() -> Params:
    """Recipe 2. Source: the same with DenseNet-121, frozen up to ``denseblock4``. Mapping: three quarters again."""
    return {**resnet50(), "backbone": "densenet121"}


SPACE = SearchSpace(
    name="chest_xray_space",
    title="pneumonia from chest X-rays, 2 classes (Kaggle's Chest X-Ray Pneumonia, --data DIR)",
    suggest=suggest,
    backbones=("resnet50", "resnet101", "densenet121"),
    recipes=(resnet50, resnet101, densenet121),
    data="chest_xray",
    image_size=224,
    epochs=15,
    num_samples=30,
    healthy="NORMAL",
    # person23_bacteria_85.jpeg, NORMAL2-IM-0115-0001.jpeg: all but the last number
    group_pattern=r"^(.*?)[-_]\d+\.jpe?g$",
    # the source scores by the mean of two models over views
    top_k=2,
    tta="flips",
)
