"""Optimizers of a model's trainable parameters, with layer-wise learning rates, and without weight decay on norms."""

import itertools
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from trainables.core.config import TrainConfig
from trainables.core.models.backbones.parameter_groups import undecayed_parameters
from trainables.core.models.networks.base import PixelNetwork

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    sgd = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
    start_momentum(sgd)
    return sgd


def _adam(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=config.lr, fused=fused)


def _adamw(groups: Groups, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


OPTIMIZERS: dict[str, Callable[[Groups, TrainConfig, bool], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


def build_optimizer(
    config: TrainConfig, model: PixelNetwork, undecayed: Collection[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Build the optimizer of the parameters that require gradients.

    Each parameter group has an ``lr_scale``: 1 for the topmost part of the model and ``layer_decay ** k`` for the k-th
    part below it (Howard & Ruder 2018; Bao et al. 2022). Vectors and scalars (norms, biases) get no weight decay, nor
    do parameters that ``no_weight_decay()`` of a module names, as in timm (positions, class tokens). A group's
    ``numbers`` are those of its parameters in checkpoints. On CUDA the fused kernels are used.

    Args:
        config: Configuration with the optimizer and its parameters.
        model: Model on its device.
        undecayed: Further parameters without weight decay.
    """
    fused = next(model.parameters()).is_cuda
    groups = _groups(config, model, {*undecayed_parameters(model), *undecayed})
    return OPTIMIZERS[config.optimizer](groups, config, fused)


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give the parameters of a fused SGD a momentum of 0 where they have none.

    By itself, the fused kernel fails if a parameter of a group has its first gradient later than another one. If the
    scaler skips a parameter's first step, it leaves the momentum uninitialised (torch 2.15).
    """
    if not isinstance(optimizer, torch.optim.SGD) or not optimizer.defaults["fused"]:
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set each group's learning rate to ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _groups(config: TrainConfig, model: PixelNetwork, undecayed: Collection[nn.Parameter]) -> Groups:
    """Return one group per pair of learning rate and decay, since each group costs a GPU kernel launch per step."""
    numbers = itertools.count()
    groups: dict[tuple[float, ...], dict[str, Any]] = {}
    for depth, module in enumerate(model.top_down()):
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # Checkpoints number the parameters in this order: matrices, then vectors. So it must not depend on the decay.
        for parameter in sorted(trainable, key=lambda parameter: parameter.ndim <= 1):
            decays = parameter.ndim > 1 and parameter not in undecayed
            rates = {"lr_scale": config.layer_decay**depth, "weight_decay": config.weight_decay if decays else 0.0}
            group = groups.setdefault(tuple(rates.values()), {"params": [], "numbers": [], **rates})
            group["params"].append(parameter)
            group["numbers"].append(next(numbers))
    return list(groups.values())
