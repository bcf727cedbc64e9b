"""The training loop, a generator of epochs. The caller reports, checkpoints and decides when to stop.

for epoch in fit(config, data):
    print(epoch.metrics["tune/balanced_accuracy"])

Several devices train together like one that accumulates gradients: at each optimizer step, each takes its share of the
batches.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

import torch

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import autocast, resolve_device, resolve_precision
from trainables.core.errors import NonFiniteLossError
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.seeds import derive_seed
from trainables.core.training.mixing import main_targets, mixed_loss
from trainables.core.training.optimization.update import Update
from trainables.core.training.parallel.processes import start_ranks
from trainables.core.training.parallel.ranks import Ranks
from trainables.core.training.parallel.step_sums import StepSums, check_equal
from trainables.core.training.tasks.base import Scorer, Task
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


def fit(config: TrainConfig, data: Dataset, state: TrainState | None = None, devices: int = 1) -> Iterator[EpochResult]:
    """Train on ``fit`` and score on ``tune``, from the beginning or from a state.

    On the CPU, a resumed run gives the same numbers as an uninterrupted one if both take the outputs of frozen stages
    from the node's cache, or both compute them. Timings decide that. Cached outputs differ by rounding, because they
    were computed in batches of another size. The function seeds torch's global random state at the start and at each
    epoch.

    Several devices give the same numbers as one, up to rounding, but draw others for dropout and stochastic depth. A
    state may be continued on any number of devices.

    Args:
        config: Configuration to train.
        data: Data set to train on; its ``select`` and ``test`` splits are not used.
        state: State of an earlier run of the same configuration; None starts from the beginning.
        devices: Number of devices, each with a process of its own: GPU 0 and up, or on the CPU just the processes. They
            are all busy if ``accumulate_steps`` is a multiple of it, see ``TrainConfig.for_devices``.

    Yields:
        The result of each remaining epoch, as it ends.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
        DeviceError, WeightsError, ConfigError, HubError: The configuration cannot run on this machine.
        RankError: The process of another device failed or died.
    """
    device_type = resolve_device(config.device).type
    with start_ranks(devices, device_type, _follow, (config, data, state)) as ranks:
        yield from _epochs(ranks, config, data, state)


def _follow(ranks: Ranks, config: TrainConfig, data: Dataset, state: TrainState | None) -> None:
    """Train together with rank 0, which alone has the results."""
    for _ in _epochs(ranks, config, data, state):
        pass


def _epochs(ranks: Ranks, config: TrainConfig, data: Dataset, state: TrainState | None) -> Iterator[EpochResult]:
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    torch.manual_seed(config.seed)
    task = build_task(config, data, device)
    update = Update(config, task, device, precision)
    if state is not None:
        update.restore(state)
    ranks.join()
    for epoch in range(1 if state is None else state.epoch + 1, config.epochs + 1):
        started = time.perf_counter()
        # so that dropout depends only on seed, epoch and rank
        torch.manual_seed(derive_seed(config.seed, epoch, *ranks.seed_keys))
        task.start_epoch(epoch)
        train = _train_epoch(config, task, update, ranks, autocast(precision, device), epoch)
        with update.averaged():
            tune = _score(task, ranks, autocast(precision, device), epoch)
        check_equal(task.model, ranks)
        metrics = {f"train/{name}": value for name, value in train.items()}
        metrics |= {f"tune/{name}": value for name, value in tune.items()}
        seconds = time.perf_counter() - started
        yield EpochResult(epoch, metrics, seconds, update.capture(epoch))


def _train_epoch(
    config: TrainConfig,
    task: Task,
    update: Update,
    ranks: Ranks,
    mixed_precision: AbstractContextManager[None],
    epoch: int,
) -> dict[str, float]:
    task.model.train()
    scorer, sums = task.scorer(), StepSums(task.model, ranks)
    total, group = task.batches_per_epoch, config.accumulate_steps  # batches per epoch and per optimizer step
    steps = [range(first, min(first + group, total)) for first in range(0, total, group)]  # the last may be smaller
    blocks = [ranks.block(step) for step in steps]
    own = list(chain(*blocks))
    weights = task.batch_weights(epoch)
    batches = task.train_batches(epoch, own)
    for number, (step, block) in enumerate(zip(steps, blocks, strict=True)):
        with sums.step(step, block):
            for index in block:
                inputs, targets = next(batches)
                mix = task.mix(epoch, index)
                with mixed_precision:
                    outputs = task.forward(inputs, mix)
                loss = mixed_loss(task.loss, outputs, targets, mix)
                scorer.update(outputs, main_targets(targets, mix), loss)
                update.backward(loss * float(weights[index] / weights[step.start : step.stop].sum()))
        update.step((epoch - 1) * len(steps) + number, len(steps))
    return _computed(scorer, own, ranks, "train", epoch)


@torch.inference_mode()
def _score(task: Task, ranks: Ranks, mixed_precision: AbstractContextManager[None], epoch: int) -> dict[str, float]:
    task.model.eval()
    scorer = task.tune_scorer()
    own = ranks.block(range(task.tune_batch_count))
    batches = task.tune_batches(own)
    for _ in own:
        inputs, targets = next(batches)
        with mixed_precision:
            outputs = task.forward(inputs)
        scorer.update(outputs, targets, task.loss(outputs, targets))
    return _computed(scorer, own, ranks, "tune", epoch)


def _computed(scorer: Scorer, numbers: Sequence[int], ranks: Ranks, split: str, epoch: int) -> dict[str, float]:
    """Score the batches of all ranks, in their order, on rank 0. A host-device sync, once per epoch and split."""
    if ranks.count > 1:
        ranks.finish_sums()
        on_cpu = [tuple(tensor.cpu() for tensor in record) for record in scorer.records]
        gathered = chain(*ranks.gather(list(zip(numbers, on_cpu, strict=True))))
        scorer.records = [record for _, record in sorted(gathered, key=itemgetter(0))]
    return _finite(scorer.compute(), split, epoch) if ranks.rank == 0 else {}


def _finite(metrics: dict[str, float], split: str, epoch: int) -> dict[str, float]:
    if not math.isfinite(metrics["loss"]):
        raise NonFiniteLossError(
            f"the {split} loss became {metrics['loss']} in epoch {epoch}: lower lr or set clip_norm"
        )
    return metrics
