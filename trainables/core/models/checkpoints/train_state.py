"""The state of training: everything needed to resume it without a difference in the results."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.core.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class TrainState:
    """The state of training after an epoch.

    The sampler, augmentation and dropout are seeded by (seed, epoch), and the learning rate is a function of the step.
    So the number of the epoch is all that has to be stored of them.

    Attributes:
        epoch: Number of finished epochs.
        tensors: ``model.*`` and ``optimizer.*``. If the weights are averaged, ``model.*`` holds the averages, which
            predict, and ``trained.*`` the weights to train further. ``capture`` returns tensors that training will
            change: save or clone them before it continues.
        scaler: State of the gradient scaler; empty without fp16.
    """

    epoch: int
    tensors: dict[str, Tensor]
    scaler: dict[str, float]

    def model_tensors(self) -> dict[str, Tensor]:
        """Return the state dict of the model that predicts."""
        return self._part("model.")

    def trained_tensors(self) -> dict[str, Tensor]:
        """Return the state dict of the model to train further."""
        return self._part("model.") | self._part("trained.")

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def capture(
    epoch: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Mapping[str, Tensor] | None = None,
) -> TrainState:
    """Return the state after ``epoch`` without copying tensors.

    Args:
        epoch: Number of finished epochs.
        model: Model with the trained weights.
        optimizer: Its optimizer.
        scaler: Its gradient scaler.
        average: Averages of some of the model's tensors by name, if they are averaged.
    """
    trained, averages = model.state_dict(), average or {}
    tensors = {f"model.{name}": averages.get(name, tensor) for name, tensor in trained.items()}
    tensors |= {f"trained.{name}": trained[name] for name in averages}
    for number, parameter in _numbered(optimizer):
        slots = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{number}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
    return TrainState(epoch, tensors, scaler.state_dict())


def restore(
    state: TrainState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Load a state into a newly built model, optimizer, scaler and average.

    Raises:
        CheckpointError: The state belongs to another model or optimizer.
    """
    try:
        model.load_state_dict(state.trained_tensors())
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from error
    for name, tensor in (average or {}).items():
        tensor.copy_(state.tensors[f"model.{name}"])
    numbered = enumerate(_numbered(optimizer))
    places = {number: (position, parameter) for position, (number, parameter) in numbered}
    slots: dict[int, dict[str, Any]] = {}
    for key, value in state.tensors.items():
        if key.startswith("optimizer."):
            _, number, slot = key.split(".")
            position, parameter = places[int(number)]
            slots.setdefault(position, {})[slot] = _laid_out_like(parameter, value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    if state.scaler:
        scaler.load_state_dict(state.scaler)


def _numbered(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, Tensor]]:
    """Yield the parameters with their numbers in checkpoints: the groups' ``numbers``, else their order."""
    in_order = itertools.count()
    for group in optimizer.param_groups:
        for parameter, number in zip(group["params"], group.get("numbers", in_order), strict=False):
            yield number, parameter


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy a value into the parameter's memory layout, which files do not store; optimizers are faster with it."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
