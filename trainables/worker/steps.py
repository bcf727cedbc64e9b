"""What a trial reports, and what it keeps, whichever way it is trained: a step is an epoch, or a fold."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from trainables.core.training.fold_checkpoint import Folded, save_folded

# Reported along with a latency: the name of the device that it was measured on.
MEASURED_ON = "measured_on"
_BEST_LATENCY = f"best_{LATENCY}"


@dataclass(frozen=True)
class Step:
    """What is to be reported.

    Attributes:
        number: From 1: the fidelity at which trials are compared.
        figures: To report, but for the number.
        rank: By which the checkpoint is kept beside the last; 0 where it need not be.
        state: Holds the frozen stages, for the first who stores them.
        save: Writes the checkpoint into a new folder, without the frozen part, where there is one.
    """

    number: int
    figures: dict[str, Any]
    rank: int
    state: TrainState
    save: Callable[[Path, FrozenPart | None], None]


def epoch_steps(config: TrainConfig, data: Dataset, objective: Objective, before: Checkpoint | None) -> Iterator[Step]:
    """Trains on ``fit``, a step an epoch; ``best_...`` is the best epoch's so far, whose checkpoint is kept."""
    metric = objective.metric
    best: dict[str, float] = before.progress if before else {}
    for result in fit(config, data, before.state if before else None):
        rank = 0
        if is_better(metric, result.metrics[f"tune/{metric}"], best.get(f"best_{metric}")):
            best, rank = best | _best(objective, result.metrics, result.epoch), result.epoch
        measured = {}
        if objective.second == LATENCY and _BEST_LATENCY not in best:
            measured = _latency(Checkpoint(result.state, config, data.class_names, data.pixel_format, {}), data)
            best |= {_BEST_LATENCY: measured[_BEST_LATENCY]}
        checkpoint = Checkpoint(result.state, config, data.class_names, data.pixel_format, best)

        def save(folder: Path, frozen: FrozenPart | None, checkpoint: Checkpoint = checkpoint) -> None:
            save_checkpoint(folder, checkpoint, frozen)

        figures = {**result.metrics, **best, **measured, "epoch_seconds": result.seconds}
        yield Step(result.epoch, figures, rank, result.state, save)


def fold_steps(
    config: TrainConfig, data: Dataset, objective: Objective, before: Folded | None
) -> Iterator[Step | None]:
    """Trains a model a fold, a step a finished fold, and None after every epoch.

    ``best_...`` is of the folds that are done: fewer are other images, so no earlier figure is better or worse than a
    later one, and the last checkpoint, which holds all models, is the one to keep.
    """
    models = list(before.models) if before else []  # whose checkpoints are not yet in `work`
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        written: list[Path] = []
        for result in cross_validate(config, data, len(models), before.pooled if before else None):
            if result is None:
                yield None
                continue
            models.append(Checkpoint(result.model, config, data.class_names, data.pixel_format, {}))
            if objective.second == LATENCY and not measured:
                measured = _latency(models[-1], data)
            pooled = result.pooled

            def save(folder: Path, frozen: FrozenPart | None, pooled: OutOfFold = pooled) -> None:
                while models:
                    target = Path(work) / f"fold-{len(written) + 1}"
                    save_checkpoint(target, models[0], frozen)
                    written.append(target)
                    del models[0]
                save_folded(folder, written, pooled)

            figures = {
                **result.metrics,
                **_best(objective, result.metrics, result.number),
                **measured,
                "epoch_seconds": result.seconds,
            }
            yield Step(result.number, figures, result.number, result.model, save)


def _best(objective: Objective, metrics: Mapping[str, float], number: int) -> dict[str, float]:
    wanted = [*objective.names, *(metric.name for metric in METRICS if metric.at_best_epoch)]
    found = {f"best_{name}": metrics[f"tune/{name}"] for name in wanted if f"tune/{name}" in metrics}
    return {"best_epoch": number, **found}


def _latency(checkpoint: Checkpoint, data: Dataset) -> dict[str, Any]:
    """What the model takes for an image as it is served, on the device that trains it, and that device's name."""
    model = trained_network(checkpoint, resolve_device(checkpoint.config.device))
    costs = profile(model, data.images(checkpoint.config.image_size))
    return {_BEST_LATENCY: costs.latency_ms, MEASURED_ON: costs.device}
