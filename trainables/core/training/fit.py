"""The training loop, a generator of epochs. The caller reports, checkpoints and decides when to stop.

for epoch in fit(config, data):
    print(epoch.metrics["tune/balanced_accuracy"])
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import autocast, resolve_device, resolve_precision
from trainables.core.errors import NonFiniteLossError
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.seeds import derive_seed
from trainables.core.training.mixing import main_targets, mixed_loss
from trainables.core.training.optimization.update import Update
from trainables.core.training.tasks.base import Task
from trainables.core.training.tasks.registry import build_task


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        metrics: ``train/...`` (during training: augmented, resampled, with dropout; of mixed images, by the target with
            the larger share) and ``tune/...`` (of the averaged weights if ``ema_decay`` is set).
        seconds: Wall time of training and scoring.
        state: State to checkpoint. The next epoch changes its tensors, so save it first.
    """

    epoch: int
    metrics: dict[str, float]
    seconds: float
    state: TrainState


def fit(config: TrainConfig, data: Dataset, state: TrainState | None = None) -> Iterator[EpochResult]:
    """Train on ``fit`` and score on ``tune``, from the beginning or from a state.

    On the CPU, a resumed run gives the same numbers as an uninterrupted one. The function seeds torch's global random
    state at the start and at each epoch.

    Args:
        config: Configuration to train.
        data: Data set to train on; its ``select`` and ``test`` splits are not used.
        state: State of an earlier run of the same configuration; None starts from the beginning.

    Yields:
        The result of each remaining epoch, as it ends.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
        DeviceError, WeightsError, ConfigError: The configuration cannot run on this machine.
    """
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    torch.manual_seed(config.seed)
    task = build_task(config, data, device)
    update = Update(config, task, device, precision)
    if state is not None:
        update.restore(state)
    for epoch in range(1 if state is None else state.epoch + 1, config.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(derive_seed(config.seed, epoch))  # so that dropout depends only on seed and epoch
        task.start_epoch(epoch)
        train = _train_epoch(config, task, update, autocast(precision, device), epoch)
        with update.averaged():
            tune = _score(task, autocast(precision, device), epoch)
        metrics = {f"train/{name}": value for name, value in train.items()}
        metrics |= {f"tune/{name}": value for name, value in tune.items()}
        seconds = time.perf_counter() - started
        yield EpochResult(epoch, metrics, seconds, update.capture(epoch))


def _train_epoch(
    config: TrainConfig, task: Task, update: Update, mixed_precision: AbstractContextManager[None], epoch: int
) -> dict[str, float]:
    task.model.train()
    scorer = task.scorer()
    total, group = task.batches_per_epoch, config.accumulate_steps  # batches per epoch and per optimizer step
    steps_per_epoch = math.ceil(total / group)
    for index, (inputs, targets) in enumerate(task.train_batches(epoch)):
        mix = task.mix(epoch, index)
        with mixed_precision:
            outputs = task.forward(inputs, mix)
        loss = mixed_loss(task.loss, outputs, targets, mix)
        scorer.update(outputs, main_targets(targets, mix), loss)
        in_group = min(group, total - index // group * group)  # the last group of an epoch may be smaller
        update.backward(loss / in_group)
        if (index + 1) % group == 0 or index + 1 == total:
            update.step((epoch - 1) * steps_per_epoch + index // group, steps_per_epoch)
    return _finite(scorer.compute(), "train", epoch)  # a host-device sync, once per epoch


@torch.inference_mode()
def _score(task: Task, mixed_precision: AbstractContextManager[None], epoch: int) -> dict[str, float]:
    task.model.eval()
    scorer = task.tune_scorer()
    for inputs, targets in task.tune_batches():
        with mixed_precision:
            outputs = task.forward(inputs)
        scorer.update(outputs, targets, task.loss(outputs, targets))
    return _finite(scorer.compute(), "tune", epoch)  # a host-device sync, once per epoch


def _finite(metrics: dict[str, float], split: str, epoch: int) -> dict[str, float]:
    if not math.isfinite(metrics["loss"]):
        raise NonFiniteLossError(
            f"the {split} loss became {metrics['loss']} in epoch {epoch}: lower lr or set clip_norm"
        )
    return metrics
