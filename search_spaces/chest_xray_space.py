"""Pneumonia from chest X-rays (Kermany et al. 2018, Kaggle's "Chest X-Ray Pneumonia": 2 classes, 1 : 3).

The test images come from a different distribution than the training images, so scores on ``tune`` and ``select`` do
not reveal overfitting to the training distribution. The space therefore stays close to published choices: early stages
are frozen and augmentation is strong.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices
from search_spaces.portfolio import portfolio
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the backbone, freeze depth, head, imbalance, optimizer, schedule, batch size and augmentation."""
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
    """Recipe 0. Source: ResNet-50 trained from ``layer4`` on; head of dropout 0.4, 512 units, ReLU, dropout 0.3.

    Also from the source: the weight of the rarer class times 1.3, strong augmentation, cosine schedule, clipping at 1
    and mixed precision (the default on a GPU). Mapping: the first three quarters of the stages end before ``layer4``.
    The source leaves open Adam at 1e-4, batch size 32 and weight decay 1e-4.
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
    portfolio=portfolio(without="chest_xray"),
    data="chest_xray",
    image_size=224,
    epochs=15,
    num_samples=30,
    healthy="NORMAL",
    # everything before the last number: person23_bacteria_85.jpeg, NORMAL2-IM-0115-0001.jpeg
    group_pattern=r"^(.*?)[-_]\d+\.jpe?g$",
    # the source averages two models over flipped views
    top_k=2,
    tta="flips",
)
