"""Published recipes for the Alzheimer MRI set, as parameters of ``alzheimer_space``.

"Source" is what the published work gives; "Mapping" is what it became here. What a source leaves open is filled with
common fine-tuning defaults (Adam at 1e-4, batch 32, constant rate, weight decay 1e-6), said once here. The sources
list experiments that change one thing; where they do not say upon what, it is upon the recipe before.
"""

from search_spaces.space import Params

_BASE: Params = {
    "backbone": "resnet50",
    "frozen_quarters": 0,
    "head": "mlp",
    "head_dropout": 0.5,
    "class_weights": "none",
    "sampler": "shuffle",
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
    "optimizer": "adam",
    "adam_lr": 1e-4,
    "weight_decay": 1e-6,
    "layer_decay": 1.0,
    "clip_norm": 0.0,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "batch_size": 32,
    "augmentation": "none",
}


def resnet50_mlp() -> Params:
    """Recipe 0. Source: ResNet50, MLP head, dropout 0.5. Mapping: direct, nothing frozen."""
    return _BASE


def with_augmentation() -> Params:
    """Recipe 1. Source: with augmentation (flip 0.5, rot90 0.3, elastic 0.2, gamma 0.2). Mapping: ``medical``."""
    return {**_BASE, "augmentation": "medical"}


def with_weighted_sampler() -> Params:
    """Recipe 2. Source: with a weighted sampler. Mapping: ``weighted``, every class equally often."""
    return {**with_augmentation(), "sampler": "weighted"}


def efficientnet_b2_partly_frozen() -> Params:
    """Recipe 3. Source: EfficientNet-B2, early stages frozen, given as "30 early layers".

    Mapping: counting a convolution, a norm and an activation as three layers, 30 layers end in the second of the seven
    groups of blocks; stem and first group are the nearest quarter of the stages.
    """
    return {**with_weighted_sampler(), "backbone": "efficientnet_b2", "frozen_quarters": 1}


def residual_head() -> Params:
    """Recipe 4. Source: residual head. Mapping: ``residual`` (dense blocks, batch norm, falling dropout)."""
    return {**efficientnet_b2_partly_frozen(), "head": "residual"}


def without_augmentation() -> Params:
    """Recipe 5. Source: no augmentation. Mapping: policy ``none``."""
    return {**residual_head(), "augmentation": "none"}


def frequency_weights() -> Params:
    """Recipe 6. Source: frequency weights in the loss.

    Mapping: ``frequency``, proportional to the class's share as the source has it, which favours the majority; with
    plain shuffling, so that the weights act alone.
    """
    return {**without_augmentation(), "class_weights": "frequency", "sampler": "shuffle"}


def with_sgd() -> Params:
    """Recipe 7. Source: SGD. Mapping: lr 0.01, momentum 0.9, no Nesterov (none given), upon recipe 5."""
    shared = {key: value for key, value in without_augmentation().items() if key != "adam_lr"}
    return {**shared, "optimizer": "sgd", "sgd_lr": 1e-2, "momentum": 0.9, "nesterov": False}


def attention_head() -> Params:
    """Recipe 8. Source: attention head (dropout 0.4), more trainable stages. Mapping: upon recipe 3, nothing frozen."""
    return {**efficientnet_b2_partly_frozen(), "head": "attention", "head_dropout": 0.4, "frozen_quarters": 0}
