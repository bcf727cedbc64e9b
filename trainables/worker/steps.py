"""Steps of a trial: one per epoch, or one per fold if the trial is cross-validated."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import resolve_device
from trainables.core.inspect.latency import profile
from trainables.core.metric_names import LATENCY, METRICS, Objective, is_better
from trainables.core.models.checkpoints.checkpoint import Checkpoint, FrozenPart, save_checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.models.networks.build import trained_network
from trainables.core.training.cross_validation import OutOfFold, cross_validate
from trainables.core.training.fit import fit
from trainables.core.training.fold_checkpoint import FoldCheckpoint, save_fold_checkpoint
from trainables.worker.report_keys import CHECKPOINT_RANK, MEASURED_ON

_BEST_LATENCY = f"best_{LATENCY}"


@dataclass(frozen=True)
class Step:
    """One report of a trial and the checkpoint that belongs to it.

    Attributes:
        report: Values to report: ``epoch`` (the number of the epoch, or of the fold, from 1), the metrics and
            ``CHECKPOINT_RANK``.
        state: Training state, which holds the frozen stages.
        save: Function that writes the checkpoint into a new folder, without the frozen part if one is given.
    """

    report: dict[str, Any]
    state: TrainState
    save: Callable[[Path, FrozenPart | None], None]


def epoch_steps(
    config: TrainConfig, data: Dataset, objective: Objective, before: Checkpoint | None, devices: int = 1
) -> Iterator[Step]:
    """Train on ``fit`` and yield one step per epoch.

    The ``best_...`` metrics are those of the best epoch so far, whose checkpoint ranks highest.

    Args:
        config: Configuration to train.
        data: Data set to train on.
        objective: Metric, or two, to optimise.
        before: Checkpoint to continue from, or None.
        devices: Number of devices to train on, as in ``fit``.
    """
    metric = objective.metric
    best: dict[str, float] = before.progress if before else {}
    for result in fit(config, data, before.state if before else None, devices):
        rank, latency = 0, {}
        if is_better(metric, result.metrics[f"tune/{metric}"], best.get(f"best_{metric}")):
            best, rank = best | _best_metrics(objective, result.metrics, result.epoch), result.epoch
        if objective.second == LATENCY and _BEST_LATENCY not in best:
            latency = _measure_latency(_checkpoint(result.state, config, data, {}, devices), data)
            best |= {_BEST_LATENCY: latency[_BEST_LATENCY]}
        checkpoint = _checkpoint(result.state, config, data, best, devices)
        metrics = {**result.metrics, **best, **latency, "epoch_seconds": result.seconds}
        report = {"epoch": result.epoch, **metrics, CHECKPOINT_RANK: rank}
        yield Step(report, result.state, partial(_save_epoch, checkpoint))


def fold_steps(
    config: TrainConfig, data: Dataset, objective: Objective, before: FoldCheckpoint | None, devices: int = 1
) -> Iterator[Step | None]:
    """Train one model per fold and yield one step per finished fold, and None after every epoch.

    The ``best_...`` metrics are those of all finished folds together. Steps cover different images, so no step counts
    as better than another, and the last checkpoint, which holds all models, ranks highest.

    Args:
        config: Configuration to train.
        data: Data set with folds.
        objective: Metric, or two, to optimise.
        before: Checkpoint to continue from, or None.
        devices: Number of devices to train on, as in ``fit``.
    """
    latency: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        models = _FoldModels(Path(work), before)
        for result in cross_validate(config, data, models.count, before.pooled if before else None, devices):
            if result is None:
                yield None
                continue
            model = _checkpoint(result.model, config, data, {}, devices)
            models.add(model)
            if objective.second == LATENCY and not latency:
                latency = _measure_latency(model, data)
            best = _best_metrics(objective, result.metrics, result.number)
            metrics = {**result.metrics, **best, **latency, "epoch_seconds": result.seconds}
            report = {"epoch": result.number, **metrics, CHECKPOINT_RANK: result.number}
            yield Step(report, result.model, partial(models.save, result.pooled))


def _checkpoint(
    state: TrainState, config: TrainConfig, data: Dataset, progress: dict[str, Any], devices: int
) -> Checkpoint:
    return Checkpoint(state, config, data.class_names, data.pixel_format, progress, data.kind, data.ordered, devices)


def _save_epoch(checkpoint: Checkpoint, folder: Path, frozen: FrozenPart | None) -> None:
    save_checkpoint(folder, checkpoint, frozen)


class _FoldModels:
    """Models of the finished folds, which are written once and then linked into every checkpoint."""

    def __init__(self, folder: Path, before: FoldCheckpoint | None):
        self._folder = folder
        self._written: list[Path] = []
        self._unwritten = list(before.models) if before else []

    @property
    def count(self) -> int:
        """The number of finished folds."""
        return len(self._written) + len(self._unwritten)

    def add(self, model: Checkpoint) -> None:
        """Add the model of the next fold."""
        self._unwritten.append(model)

    def save(self, pooled: OutOfFold, folder: Path, frozen: FrozenPart | None) -> None:
        """Write the checkpoint of all finished folds and their out-of-fold predictions."""
        while self._unwritten:
            target = self._folder / f"fold-{len(self._written) + 1}"
            save_checkpoint(target, self._unwritten[0], frozen)
            self._written.append(target)
            del self._unwritten[0]
        save_fold_checkpoint(folder, self._written, pooled)


def _best_metrics(objective: Objective, metrics: Mapping[str, float], number: int) -> dict[str, float]:
    names = [*objective.names, *(metric.name for metric in METRICS if metric.at_best_epoch)]
    best = {f"best_{name}": metrics[f"tune/{name}"] for name in names if f"tune/{name}" in metrics}
    return {"best_epoch": number, **best}


def _measure_latency(checkpoint: Checkpoint, data: Dataset) -> dict[str, Any]:
    """Measure the latency of the model as it is served, on the device that trains it."""
    model = trained_network(checkpoint, resolve_device(checkpoint.config.device))
    costs = profile(model, data.images(checkpoint.config.image_size))
    return {_BEST_LATENCY: costs.latency_ms, MEASURED_ON: costs.device}
