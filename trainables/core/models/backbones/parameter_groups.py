"""Models that cannot be cut into stages: the model runs as a whole, and its "stages" only group its parameters."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from trainables.core.models.backbones.timm_internals import group_tensors

# torchvision's models declare nothing; these are the names that its training scripts leave out.
_TORCHVISION_UNDECAYED = ("class_token", "*pos_embedding", "*relative_position_bias_table")


class ParameterGroup(nn.Module):
    """A stage of an uncut model: it holds a group of the model's modules and returns its input unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` unchanged."""
        return x


class WholeModel(ParameterGroup):
    """The last stage of an uncut model: it holds the last group of modules and runs the whole model.

    The model is not registered as a submodule, because every parameter must belong to exactly one stage. It shares its
    modules with the stages, so moving, loading or freezing the stages moves, loads or freezes the model.

    Args:
        model: A model from (B, 3, H, W) images to (B, F) features.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._unregistered = (model,)  # a tuple hides it from nn.Module's registration

    def forward(self, x: Tensor) -> Tensor:
        """Run the model: (B, 3, H, W) images to (B, F) features."""
        features: Tensor = self._unregistered[0](x)
        return features

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the whole model, earlier stages included; the caller resets frozen stages to eval mode."""
        self._unregistered[0].train(mode)
        return super().train(mode)


def group_parameters(model: nn.Module) -> list[nn.Module]:
    """Distribute a model's parameters and buffers over stages, by timm's grouping if the model declares one."""
    group_of = _group_numbers(model)
    count = max(group_of.values()) + 1
    stages = [*(ParameterGroup() for _ in range(count - 1)), WholeModel(model)]
    _register(model, "", group_of, stages)
    return list(stages)


def undecayed_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that must not decay: those that ``no_weight_decay()`` of any module names, as timm does."""
    found: set[nn.Parameter] = set()
    for module in model.modules():
        patterns: Iterable[str] = ()
        if callable(declared := getattr(module, "no_weight_decay", None)):
            patterns = declared()
        elif type(module).__module__.startswith("torchvision."):
            patterns = _TORCHVISION_UNDECAYED
        for pattern in patterns:
            found |= {parameter for name, parameter in module.named_parameters() if fnmatch(name, pattern)}
    return found


def _group_numbers(model: Any) -> dict[str, int]:
    """Return the group number of each parameter and buffer, by its dotted name."""
    tensors = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    named: list[tuple[str, torch.Tensor]] = list(tensors)
    try:
        return group_tensors(model, named)
    except (AttributeError, AssertionError):  # torchvision, and the few timm models without a (coarse) grouping
        trunk = _trunk(model)
        child_of = {name: ".".join(name.split(".")[: 1 + name.startswith(trunk)]) for name, _ in named}
        children = dict.fromkeys(child for name, child in child_of.items() if "." in name)
        order = {child: number for number, child in enumerate(children)}
        # the model's own parameters (positions, class tokens) go with the embedding, as in timm's groupings
        return {name: order.get(child, 0) for name, child in child_of.items()}


def _trunk(model: nn.Module) -> str:
    """Name the list of modules that holds most of the parameters, with a final dot; "/" (no name) if none does."""
    total = sum(parameter.numel() for parameter in model.parameters())
    for name, child in model.named_children():
        size = sum(parameter.numel() for parameter in child.parameters())
        if isinstance(child, nn.Sequential | nn.ModuleList) and 2 * size > total:
            return f"{name}."
    return "/"


def _register(module: nn.Module, prefix: str, group_of: dict[str, int], stages: Sequence[nn.Module]) -> None:
    """Register modules and parameters with their stages.

    A stage gets the largest submodules whose tensors all lie in its group, and single parameters of the others.
    """
    groups = {group for name, group in group_of.items() if name.startswith(prefix)}
    if prefix and len(groups) == 1:
        stages[groups.pop()].add_module(prefix.rstrip(".").replace(".", "-"), module)
        return
    for name, parameter in module.named_parameters(recurse=False):
        stages[group_of[prefix + name]].register_parameter((prefix + name).replace(".", "-"), parameter)
    for name, child in module.named_children():
        _register(child, f"{prefix}{name}.", group_of, stages)
