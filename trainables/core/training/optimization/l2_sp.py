"""L2-SP (Li et al. 2018): weight decay toward the pretrained weights, the starting point, instead of toward zero."""

from collections.abc import Iterable

import torch
from torch import nn


class StartingPoint:
    """The weights that parameters have now, and the pull back to them.

    It acts on the weights as torch's ``weight_decay`` does, but on their difference from the starting point: for SGD
    and Adam as the gradient of ``strength / 2 * ||w - w0||**2``, which is added after clipping; for AdamW decoupled
    from the gradient (Loshchilov & Hutter 2019).

    Args:
        parameters: Parameters with their pretrained values.
        strength: The paper's alpha, > 0.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], strength: float):
        self.weights = {parameter: parameter.detach().clone() for parameter in parameters}
        self._strength = strength

    @torch.no_grad()
    def pull(self, optimizer: torch.optim.Optimizer) -> None:
        """Pull the parameters that have gradients, before a step. The gradients must not be scaled (by fp16)."""
        decoupled = isinstance(optimizer, torch.optim.AdamW)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None or parameter not in self.weights:
                    continue
                start = self.weights[parameter]
                if decoupled:  # with fp16 also in steps that are skipped for an overflow: to know would be a sync
                    parameter.lerp_(start, group["lr"] * self._strength)
                else:
                    parameter.grad.add_(parameter - start, alpha=self._strength)
