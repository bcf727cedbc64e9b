"""Sums over the ranks at each optimizer step, so that it equals that of one device which accumulates.

Torch's DistributedDataParallel is not used: all ranks would have to take part in every step, which the last one of an
epoch may be too short for, and a rank that runs out of memory in the middle of a pass could not tell the others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from trainables.core.errors import ConfigError
from trainables.core.training.parallel.ranks import RankError, Ranks

_DRIFT = 1e-4  # relative difference of the weights' norms; ranks compute the same updates, so it should be 0


@dataclass(frozen=True, eq=False)
class _Statistic:
    """A running mean or variance of batch norm.

    Attributes:
        tensor: Its values.
        keep: Share of them that a batch keeps; the rest comes from the batch.
    """

    tensor: Tensor
    keep: float


class StepSums:
    """The gradients and the running statistics of batch norm in one buffer, which is summed once per step.

    Each batch m of a step changes a statistic s to ``keep * s + (1 - keep) * batch[m]``. This is linear, so ranks that
    start from 0, except for the first one, may add up their parts, if each is multiplied by ``keep`` for every batch of
    the later ranks.

    Args:
        model: Model on its device, in the mode and with the frozen parameters of the coming steps.
        ranks: View of this rank.

    Raises:
        ConfigError: A batch norm averages over all batches (``momentum=None``).
    """

    def __init__(self, model: nn.Module, ranks: Ranks):
        self._ranks = ranks
        if ranks.count == 1:
            return
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._statistics, self._counters = _batch_norm_statistics(model)
        like = [*self._parameters, *(statistic.tensor for statistic in self._statistics)]
        self._buffer = torch.zeros(sum(tensor.numel() for tensor in like), device=like[0].device)
        parts = _split(self._buffer, like)
        self._gradients, self._parts = parts[: len(self._parameters)], parts[len(self._parameters) :]

    @contextmanager
    def step(self, numbers: range, own: range) -> Iterator[None]:
        """Sum what the ranks accumulate within the block.

        Args:
            numbers: Batches of the step.
            own: This rank's block of them, which runs within the block.
        """
        if self._ranks.count == 1:
            yield
            return
        self._begin()
        yield
        self._write_statistics(later=numbers.stop - own.stop)
        self._ranks.gather(None)
        self._ranks.sum(self._buffer)
        self._read_statistics(missed=len(numbers) - len(own))

    def _begin(self) -> None:
        self._buffer.zero_()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        if self._ranks.rank > 0:
            for statistic in self._statistics:
                statistic.tensor.zero_()  # training does not read them

    def _write_statistics(self, later: int) -> None:
        for part, statistic in zip(self._parts, self._statistics, strict=True):
            torch.mul(statistic.tensor, statistic.keep**later, out=part)

    def _read_statistics(self, missed: int) -> None:
        for part, statistic in zip(self._parts, self._statistics, strict=True):
            statistic.tensor.copy_(part)
        for counter in self._counters:
            counter.add_(missed)


def check_equal(model: nn.Module, ranks: Ranks) -> None:
    """Check, on rank 0, that all ranks have the same weights. A host-device sync.

    Raises:
        RankError: They do not, so the training is worthless.
    """
    if ranks.count == 1:
        return
    norms = ranks.gather(float(get_total_norm(list(model.parameters()))))
    if not np.allclose(norms, norms[:1], rtol=_DRIFT, equal_nan=True):
        raise RankError(f"all ranks must have the same weights, but their norms are {', '.join(map(str, norms))}")


def _batch_norm_statistics(model: nn.Module) -> tuple[list[_Statistic], list[Tensor]]:
    """Return the statistics that training changes, and the counters of their batches."""
    statistics, counters = [], []
    for norm in model.modules():
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) or not norm.training:
            continue
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            continue  # it has no statistics
        if norm.momentum is None:
            raise ConfigError("several devices cannot train a batch norm that averages over all batches: use one")
        keep = 1 - norm.momentum
        statistics += [_Statistic(norm.running_mean, keep), _Statistic(norm.running_var, keep)]
        counters.append(norm.num_batches_tracked)
    return statistics, counters


def _split(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return consecutive parts of a buffer, with the shapes and, as fused optimizers need, the layouts of tensors."""
    parts = torch.split(buffer, [tensor.numel() for tensor in like])
    return [
        part.as_strided(tensor.shape, tensor.stride()) if _is_dense(tensor) else part.view(tensor.shape)
        for part, tensor in zip(parts, like, strict=True)
    ]


def _is_dense(tensor: Tensor) -> bool:
    """Return True if the elements fill a block of memory, in whatever order."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return extent == tensor.numel()
