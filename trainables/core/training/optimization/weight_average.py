"""Exponential moving average (EMA) of the weights, which is scored and saved instead of the trained weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def average_decay(decay: float, step: int) -> float:
    """Return the decay at a step (from 0): TensorFlow's min(decay, (1 + step) / (10 + step)).

    So the average forgets the initial weights in a short training, too.
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """Average of a model's floating-point tensors, batch-norm statistics included, as in timm's ``ModelEmaV3``.

    Args:
        model: Model on its device; its tensors must be changed in place only.
        decay: Largest decay per optimizer step, in 0..1.
        frozen: Name prefixes of tensors that training never changes. They are left out, as are parameters that require
            no gradient.

    Attributes:
        tensors: Averages by the names of the model's state dict.
    """

    def __init__(self, model: nn.Module, decay: float, frozen: tuple[str, ...]):
        self._decay = decay
        fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        self._trained = {
            name: tensor
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point() and not name.startswith(frozen) and name not in fixed
        }
        self.tensors = {name: tensor.clone() for name, tensor in self._trained.items()}

    def update(self, step: int) -> None:
        """Add the weights after an optimizer step (from 0): average = decay * average + (1 - decay) * weights."""
        update = get_ema_multi_avg_fn(average_decay(self._decay, step))  # type: ignore[no-untyped-call]
        update(list(self.tensors.values()), list(self._trained.values()), None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averages within the block, and the trained weights back after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for trained, average in zip(self._trained.values(), self.tensors.values(), strict=True):
            before = trained.clone()
            trained.copy_(average)
            average.copy_(before)
