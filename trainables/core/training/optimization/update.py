"""The update of the weights: scaled gradients, learning rate, clipping, optimizer step, and what follows a step."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from trainables.core.config import TrainConfig
from trainables.core.models.checkpoints.train_state import TrainState, capture, restore
from trainables.core.training.optimization.lr_schedules import lr_factor
from trainables.core.training.optimization.optimizers import build_optimizer, set_lr, start_momentum
from trainables.core.training.optimization.weight_average import WeightAverage
from trainables.core.training.tasks.base import Task


class Update:
    """The state that one training has beside its model: optimizer, gradient scaler, starting point and average.

    Args:
        config: Configuration to train.
        task: Task whose model has its initial weights.
        device: Device of the model.
        precision: Resolved precision.
    """

    def __init__(self, config: TrainConfig, task: Task, device: torch.device, precision: str):
        self._config, self._model = config, task.model
        self._start = task.starting_point()
        self._optimizer = build_optimizer(config, task.model, () if self._start is None else self._start.weights)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._scaler.scale(torch.zeros((), device=device))  # or a rank without a batch in its first step could not step
        self._average = WeightAverage(task.model, config.ema_decay, config.frozen) if config.ema_decay else None

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        torch.autograd.backward(self._scaler.scale(loss))

    def step(self, step: int, steps_per_epoch: int) -> None:
        """Update the weights and their average by the gradients; ``step`` counts from 0 over all epochs."""
        optimizer, scaler, config = self._optimizer, self._scaler, self._config
        set_lr(optimizer, config.lr * lr_factor(config, step, steps_per_epoch))
        if config.clip_norm or self._start is not None:
            scaler.unscale_(optimizer)
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), config.clip_norm)
        if self._start is not None:
            self._start.pull(optimizer)
        scaler.step(optimizer)  # no host-device sync: fused optimizers read on the GPU whether gradients overflowed
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(step)

    def averaged(self) -> AbstractContextManager[None]:
        """Give the model its averaged weights within the block, if they are averaged."""
        return nullcontext() if self._average is None else self._average.applied()

    def capture(self, epoch: int) -> TrainState:
        """Return the state after an epoch, without copying tensors."""
        average = None if self._average is None else self._average.tensors
        return capture(epoch, self._model, self._optimizer, self._scaler, average)

    def restore(self, state: TrainState) -> None:
        """Load a state.

        Raises:
            CheckpointError: The state belongs to another model or optimizer.
        """
        average = None if self._average is None else self._average.tensors
        restore(state, self._model, self._optimizer, self._scaler, average)
        start_momentum(self._optimizer)  # a state from a CPU lacks that of parameters without a gradient so far
