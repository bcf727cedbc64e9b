"""Lung tissue under the microscope (LC25000, Borkowski et al. 2019: normal, adenocarcinoma, squamous cell carcinoma).

The images are rotated and mirrored copies of a few originals, which the audit finds. Only the split by groups gives
scores that generalise.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search_spaces import choices
from search_spaces.portfolio import portfolio
from search_spaces.space import Config, Params, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: "BaseTrial", backbones: Sequence[str]) -> Config:
    """Search the backbone, freeze depth, head, optimizer, schedule, batch size, augmentation and normalisation."""
    return {
        **choices.backbone(trial, backbones, frozen_quarters=(0, 1, 2, 3)),
        **choices.head(trial, heads=("linear", "mlp"), most_dropout=0.5),
        **choices.optimizer(trial, ("sgd", "adamw"), sgd_lr=(1e-4, 1e-1), adam_lr=(1e-5, 1e-2)),
        **choices.schedule(trial, ("constant", "cosine", "step")),
        **choices.batch_size(trial, (4, 16, 32)),
        **choices.augmentation(trial, ("none", "flip", "flips_and_rotation")),
        "normalize": trial.suggest_categorical("normalize", ["imagenet", "dataset"]),
    }


def small_cnn() -> Params:
    """Recipe 0. Source: a small CNN from random weights, flips in both directions, rotation, SGD 0.0025, momentum 0.9.

    Also from the source: images of 512 pixels, normalised by the data set's mean and deviation, batch size 4, 25
    epochs. Mapping: ``scratch_cnn``; a constant rate and negligible weight decay, because none is given.
    """
    return {
        "backbone": "scratch_cnn",
        "frozen_quarters": 0,
        "head": "linear",
        "head_dropout": 0.0,
        "optimizer": "sgd",
        "sgd_lr": 0.0025,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-6,
        "layer_decay": 1.0,
        "clip_norm": 0.0,
        "schedule": "constant",
        "warmup_ratio": 0.0,
        "batch_size": 4,
        "augmentation": "flips_and_rotation",
        "normalize": "dataset",
    }


def resnet18() -> Params:
    """Recipe 1. Source: ResNet-18, all layers fine-tuned, with a step schedule.

    Mapping: SGD 0.001 and a tenth of the rate every 7 epochs, as in PyTorch's transfer-learning tutorial; batch size 4
    as in recipe 0.
    """
    step = {"schedule": "step", "decay_rate": 0.1, "decay_epochs": 7}
    return {**small_cnn(), **step, "backbone": "resnet18", "sgd_lr": 0.001, "normalize": "imagenet"}


SPACE = SearchSpace(
    name="tissue_space",
    title="lung tissue under the microscope, 3 classes (LC25000's lung folders, --data DIR)",
    suggest=suggest,
    backbones=("scratch_cnn", "resnet18", "resnet50", "densenet121"),
    recipes=(small_cnn, resnet18),
    portfolio=portfolio(without="tissue"),
    data="lung_image_sets",
    image_size=512,
    epochs=25,
    num_samples=30,
    healthy="lung_n",
    test_share=0.2,
)
