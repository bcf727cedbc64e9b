"""Published recipes for the Alzheimer MRI set, as parameters of ``alzheimer_space``.

"Source" describes the published experiment and "Mapping" how it is expressed here. Whatever a source leaves open has
common fine-tuning defaults: Adam at 1e-4, batch size 32, constant learning rate, weight decay 1e-6. Most published
experiments change one thing; where the source does not name the baseline, it is the previous recipe.
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
    """Recipe 0. Source: ResNet-50, MLP head, dropout 0.5. Mapping: direct, nothing frozen."""
    return _BASE


def with_augmentation() -> Params:
    """Recipe 1. Source: with augmentation (flip 0.5, rot90 0.3, elastic 0.2, gamma 0.2). Mapping: ``medical``."""
    return {**_BASE, "augmentation": "medical"}


def with_weighted_sampler() -> Params:
    """Recipe 2. Source: with a weighted sampler. Mapping: ``weighted``, which shows every class equally often."""
    return {**with_augmentation(), "sampler": "weighted"}


def efficientnet_b2_partly_frozen() -> Params:
    """Recipe 3. Source: EfficientNet-B2 with the first 30 layers frozen.

    Mapping: if a convolution, a norm and an activation count as three layers, the first 30 end in the second of the
    seven block groups. The nearest quarter of the stages is the stem and the first group.
    """
    return {**with_weighted_sampler(), "backbone": "efficientnet_b2", "frozen_quarters": 1}


def residual_head() -> Params:
    """Recipe 4. Source: residual head. Mapping: ``residual`` (dense blocks, batch norm, decreasing dropout)."""
    return {**efficientnet_b2_partly_frozen(), "head": "residual"}


def without_augmentation() -> Params:
    """Recipe 5. Source: no augmentation. Mapping: policy ``none``."""
    return {**residual_head(), "augmentation": "none"}


def frequency_weights() -> Params:
    """Recipe 6. Source: frequency weights in the loss.

    Mapping: ``frequency`` weights classes by their share, as in the source, which favours the majority. Plain shuffling
    isolates the effect of the weights.
    """
    return {**without_augmentation(), "class_weights": "frequency", "sampler": "shuffle"}


def with_sgd() -> Params:
    """Recipe 7. Source: SGD. Mapping: recipe 5 with lr 0.01, momentum 0.9 and no Nesterov (none is mentioned)."""
    shared = {key: value for key, value in without_augmentation().items() if key != "adam_lr"}
    return {**shared, "optimizer": "sgd", "sgd_lr": 1e-2, "momentum": 0.9, "nesterov": False}


def attention_head() -> Params:
    """Recipe 8. Source: attention head (dropout 0.4), more trainable stages. Mapping: recipe 3 with nothing frozen."""
    return {**efficientnet_b2_partly_frozen(), "head": "attention", "head_dropout": 0.4, "frozen_quarters": 0}
