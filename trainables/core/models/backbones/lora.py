"""LoRA (Hu et al. 2022): low-rank updates of a vision transformer's attention, instead of training its weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.core.errors import ConfigError

_LAYERS = ("qkv", "proj")  # of timm's attention; queries, keys and values share one layer
_A, _B = ".lora_a", ".lora_b"


class LoraLinear(nn.Linear):
    """A linear layer with fixed weights W and a trainable update: x (W + B A)^T + bias, with A of ``rank`` rows.

    B is 0 at first, so that the layer begins as the given one. The paper's factor alpha / rank is 1: it scales the
    learning rate of the update, which is searched anyway.
    """

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_a = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))  # as in the authors' code

    def forward(self, x: Tensor) -> Tensor:
        """Turn (..., inputs) into (..., outputs) float."""
        update = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return super().forward(x) + update


def attention_modules(model: nn.Module) -> list[Any]:
    """Return the attention modules that LoRA can update: those of timm's ``VisionTransformer``.

    Other architectures use the weights of such layers without calling the layers, or have attention of their own.
    """
    from timm.layers import Attention
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(model, VisionTransformer):
        return []
    return [module for module in model.modules() if type(module) is Attention]


def add_lora(model: nn.Module, name: str, rank: int) -> None:
    """Fix all weights of a model and add trainable updates of ``rank`` to its attention layers, in place.

    The updates' initial values come from torch's global random state.

    Args:
        model: Original architecture, with its weights.
        name: Its name, for the message.
        rank: Rank of the updates, at least 1.

    Raises:
        ConfigError: The model is no vision transformer of timm, or its layers are not larger than ``rank``.
    """
    attentions = attention_modules(model)
    if not attentions:
        raise ConfigError(f"lora_rank needs a vision transformer of timm, but {name} is not one: leave lora_rank out")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for attention in attentions:
        for key in _LAYERS:
            layer: nn.Linear = getattr(attention, key)
            if rank >= min(layer.in_features, layer.out_features):
                raise ConfigError(
                    f"lora_rank must be less than the width of {name}, {layer.in_features}, but got {rank}"
                )
            setattr(attention, key, LoraLinear(layer, rank))


def is_update(name: str) -> bool:
    """Return True if a tensor of this name is part of a LoRA update."""
    return name.endswith((_A, _B))


def merged_lora(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's state dict as that of the model without LoRA, with the weights W + B A."""
    merged = {name: tensor for name, tensor in tensors.items() if not is_update(name)}
    for layer in (name.removesuffix(_A) for name in tensors if name.endswith(_A)):
        weight = tensors[f"{layer}.weight"]
        update = tensors[layer + _B].double() @ tensors[layer + _A].double()
        merged[f"{layer}.weight"] = (weight.double() + update).to(weight.dtype)
    return merged
