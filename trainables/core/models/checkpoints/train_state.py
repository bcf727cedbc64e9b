"""The state of training: everything needed to resume it without a difference in the results."""

import copy
import itertools
from collections import defaultdict
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

    def averaged_names(self) -> set[str]:
        """Return the names of the model's tensors that are averages."""
        return set(self._part("trained."))

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
        CheckpointError: The state belongs to another model, has tensors that the optimizer does not use, or has
            averages of other tensors.
    """
    try:
        model.load_state_dict(state.trained_tensors())
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from error
    averages = average or {}
    if averages.keys() != state.averaged_names():
        raise CheckpointError(
            f"the checkpoint has averages of {len(state.averaged_names())} tensors, but training averages "
            f"{len(averages)}: continue with the same ema_decay and the same frozen stages"
        )
    for name, tensor in averages.items():
        tensor.copy_(state.tensors[f"model.{name}"])
    numbered = enumerate(_numbered(optimizer))
    places = {number: (position, parameter) for position, (number, parameter) in numbered}
    names = _slot_names(optimizer)
    slots: dict[int, dict[str, Any]] = {}
    for key, value in state.tensors.items():
        if key.startswith("optimizer."):
            _, number, slot = key.split(".")
            if int(number) not in places or slot not in names:
                raise CheckpointError(
                    f"the checkpoint does not fit the optimizer: {type(optimizer).__name__} of {len(places)} "
                    f"parameters has no {slot} of parameter {number}"
                )
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


def _slot_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """Name the tensors that an optimizer has for each parameter: those that a copy has after its first step."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    fresh = copy.copy(optimizer)
    fresh.state, fresh.param_groups = defaultdict(dict), [{**optimizer.param_groups[0], "params": [parameter]}]
    fresh.step()
    return {name for name, value in fresh.state[parameter].items() if isinstance(value, Tensor)}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy a value into the parameter's memory layout, which files do not store; optimizers are faster with it."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
