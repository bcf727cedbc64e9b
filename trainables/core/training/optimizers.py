"""Optimizers of a model's trainable parameters, with layer-wise learning rates and no weight decay on norms."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from trainables.core.config import TrainConfig
from trainables.core.models.networks.base import PixelNetwork

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)


def _adam(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=config.lr, fused=fused)


def _adamw(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


OPTIMIZERS: dict[str, Callable[[Groups, TrainConfig, bool], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


def build_optimizer(config: TrainConfig, model: PixelNetwork) -> torch.optim.Optimizer:
    """Build the optimizer of the parameters that require gradients.

    Each parameter group has an ``lr_scale``: 1 for the topmost part of the model and ``layer_decay ** k`` for the k-th
    part below it (Howard & Ruder 2018; Bao et al. 2022). Vectors and scalars (norms, biases) get no weight decay. On
    CUDA the fused kernels are used.
    """
    fused = next(model.parameters()).is_cuda
    return OPTIMIZERS[config.optimizer](list(_groups(config, model)), config, fused)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set each group's learning rate to ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _groups(config: TrainConfig, model: PixelNetwork) -> Iterator[dict[str, Any]]:
    for depth, module in enumerate(model.top_down()):
        scale = config.layer_decay**depth
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decay, parameters in ((config.weight_decay, _matrices(trainable)), (0.0, _vectors(trainable))):
            if parameters:
                yield {"params": parameters, "weight_decay": decay, "lr_scale": scale}


def _matrices(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.ndim > 1]


def _vectors(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.ndim <= 1]
