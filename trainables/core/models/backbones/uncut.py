"""Models of families that no cutter knows: they keep their own forward, and their stages only group the parameters."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn


class ParameterGroup(nn.Module):
    """A stage of a model that is not cut: it holds a group of the model's modules and passes its input through."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as it is."""
        return x


class WholeModel(ParameterGroup):
    """The last stage of a model that is not cut: it holds the last group, and runs the whole model.

    The model itself is not registered as a submodule, since every parameter belongs to exactly one stage; its modules
    are the very objects that the stages hold, so moving, loading or freezing the stages moves, loads or freezes it.

    Args:
        model: The model, from (B, 3, H, W) images to (B, F) features.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._unregistered = (model,)

    def forward(self, x: Tensor) -> Tensor:
        """Run the model: (B, 3, H, W) images to (B, F) features."""
        features: Tensor = self._unregistered[0](x)
        return features

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the whole model; who freezes earlier stages sets them back to eval afterwards."""
        self._unregistered[0].train(mode)
        return super().train(mode)


def group(model: nn.Module) -> list[nn.Module]:
    """Distribute a model's parameters and buffers over stages, by timm's own grouping where it has one."""
    group_of = _group_numbers(model)
    count = max(group_of.values()) + 1
    stages = [*(ParameterGroup() for _ in range(count - 1)), WholeModel(model)]
    _register(model, "", group_of, stages)
    return list(stages)


def _group_numbers(model: Any) -> dict[str, int]:
    """Number the group of each parameter and buffer, by its dotted name."""
    from timm.models._manipulate import group_with_matcher  # the public group_parameters leaves the buffers out

    tensors = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    named: list[tuple[str, torch.Tensor]] = list(tensors)
    try:
        return dict(group_with_matcher(iter(named), model.group_matcher(coarse=True), reverse=True))
    except (AttributeError, AssertionError):  # torchvision, and the few timm families without a (coarse) grouping
        trunk = _trunk(model)
        child_of = {name: ".".join(name.split(".")[: 1 + name.startswith(trunk)]) for name, _ in named}
        children = dict.fromkeys(child for name, child in child_of.items() if "." in name)
        order = {child: number for number, child in enumerate(children)}
        # the model's own parameters (positions, class tokens) go with the embedding, as in timm's groupings
        return {name: order.get(child, 0) for name, child in child_of.items()}


def _trunk(model: nn.Module) -> str:
    """Name the list of modules, with a dot, that holds most of the parameters; "/" (no such name) if none does."""
    total = sum(parameter.numel() for parameter in model.parameters())
    for name, child in model.named_children():
        size = sum(parameter.numel() for parameter in child.parameters())
        if isinstance(child, nn.Sequential | nn.ModuleList) and 2 * size > total:
            return f"{name}."
    return "/"


def _register(module: nn.Module, prefix: str, group_of: dict[str, int], stages: Sequence[nn.Module]) -> None:
    """Give each stage the largest submodules that lie in its group whole, and the parameters of those that do not."""
    groups = {group for name, group in group_of.items() if name.startswith(prefix)}
    if prefix and len(groups) == 1:
        stages[groups.pop()].add_module(prefix.rstrip(".").replace(".", "-"), module)
        return
    for name, parameter in module.named_parameters(recurse=False):
        stages[group_of[prefix + name]].register_parameter((prefix + name).replace(".", "-"), parameter)
    for name, child in module.named_children():
        _register(child, f"{prefix}{name}.", group_of, stages)
