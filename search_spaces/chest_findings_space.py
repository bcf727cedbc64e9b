"""Findings in chest X-rays (NIH ChestX-ray14, Wang et al. 2017: 112,120 images, 14 labels, ``A|B`` in one column).

It also fits other tables in which images have any number of labels: pass ``--data`` and ``--labels``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices
from search_spaces.space import Config, Params, SearchSpace
from trainables.core.data.readers.tables.label_columns import LabelTable

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the backbone, freeze depth, head, loss, sampler, optimizer, schedule, batch size and augmentation."""
    return {
        **choices.backbone(trial, backbones, frozen_quarters=(0, 2, 3, 4)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.5),
        **choices.label_loss(trial, ("bce", "focal", "asymmetric")),
        **choices.sampler(trial, ("shuffle", "sqrt", "weighted")),
        **choices.optimizer(trial, ("adam", "adamw"), sgd_lr=(1e-4, 1e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine", "step")),
        **choices.batch_size(trial, (16, 32)),
        **choices.augmentation(trial, ("none", "flip", "medical")),
    }


def chexnet() -> Params:
    """Recipe 0. Source: CheXNet (Rajpurkar et al. 2017), a whole DenseNet-121, Adam at 1e-3, batches of 16, flips.

    Also from the source: the learning rate falls to a tenth when the loss on validation images stops falling; the loss
    is weighted by the balance of each label. Mapping: a tenth every 5 epochs.
    """
    return {
        "backbone": "densenet121",
        "frozen_quarters": 0,
        "head": "linear",
        "head_dropout": 0.0,
        "loss": "bce",
        "pos_weight": "balanced",
        "sampler": "shuffle",
        "optimizer": "adam",
        "adam_lr": 1e-3,
        "weight_decay": 1e-6,
        "layer_decay": 1.0,
        "clip_norm": 0.0,
        "schedule": "step",
        "decay_rate": 0.1,
        "decay_epochs": 5,
        "warmup_ratio": 0.0,
        "batch_size": 16,
        "augmentation": "flip",
    }


def frozen() -> Params:
    """Recipe 1. Source: our own runs on 800 images on a CPU, where a new head on a frozen backbone comes first."""
    cosine = {"schedule": "cosine", "warmup_ratio": 0.1}
    plain = {key: value for key, value in chexnet().items() if not key.startswith("decay_")}
    return {**plain, **cosine, "frozen_quarters": 4, "pos_weight": "none", "batch_size": 32, "augmentation": "none"}


SPACE = SearchSpace(
    name="chest_findings_space",
    title="findings in chest X-rays, 14 labels (NIH ChestX-ray14, --data DIR)",
    suggest=suggest,
    backbones=("densenet121", "resnet50", "efficientnet_b0"),
    recipes=(chexnet, frozen),
    data="chest_xray14",
    table=LabelTable(("Data_Entry_2017.csv",), label="Finding Labels", image="Image Index", group="Patient ID"),
    image_size=224,
    epochs=15,
    num_samples=30,
    task="multi_label",
    metric="auroc",
)
