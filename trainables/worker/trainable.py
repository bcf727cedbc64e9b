"""The Ray trainable of a search, and the only report loop there is."""

import dataclasses
import faulthandler
import gc
import logging
import math
import tempfile
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.errors import ConfigError, NonFiniteLossError, describe, first_line
from trainables.core.metric_names import Objective
from trainables.core.models.checkpoints.checkpoint import (
    FrozenPart,
)
from trainables.core.training.fold_checkpoint import Folded
from trainables.worker.checkpoint_io import FOLDER, UnwritableError, restore, store_frozen, writing
from trainables.worker.node_requirements import Demands, lacks
from trainables.worker.steps import epoch_steps, fold_steps

# Reported, with the error's line, by a trial that fails in a way that trying again cannot mend.
FAILED = "failed"
# Reported once, with the error's line, by a trial that went on with a smaller micro-batch.
HALVED = "halved"
# Reported, with a line that says why, where the node cannot run trials, or the storage takes no more: not the trial's
# fault.
UNFIT = "unfit"
# By this Ray keeps a trial's best checkpoint beside its last: the epoch where it is the best so far, else 0.
CHECKPOINT_RANK = "checkpoint_rank"


def run_trial(
    trial: dict[str, Any],
    data: Dataset,
    objective: Objective,
    storage: str,
    timeout_s: float,
    demands: Demands | None = None,
) -> None:
    """Trains one configuration, reporting and checkpointing after every epoch, or fold where the data has folds.

    Args:
        trial: ``train`` (the dict of a ``TrainConfig``) and ``resume_from`` (a checkpoint's path or URI, or None).
            Ray's own checkpoint of this trial, where it restarts one, goes first.
        data: What to train on.
        objective: The metric, or two, to optimise.
        storage: Path or URI of the search's folder, where frozen parts are stored.
        timeout_s: An epoch that takes longer ends this process; Ray then tries the trial again elsewhere.
        demands: Of the driver on a node that may have come since it began; None where there is the driver's own alone.

    Reports:
        ``epoch`` (the fold, where it is cross-validated), ``train/...``, ``tune/...``, ``epoch_seconds``,
        ``best_epoch``, ``best_<metric>`` and the metrics with ``at_best_epoch`` there; ``HALVED``, once,
        where the GPU's memory was too small for the batch and the trial went on with half of it at a time; or
        ``FAILED``, once, where the configuration cannot be trained; or ``UNFIT``, once, where this node lacks what the
        driver demands, or a disk is full or read-only.
    """
    lacking = _lacking(demands) if demands else ()
    if lacking:
        tune.report({UNFIT: "; ".join(lacking), f"best_{objective.metric}": math.nan})
        return
    _settle_process()
    torch.set_num_threads(max(1, int(_reserved_cpus())))
    try:
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        config = TrainConfig.from_dict({**trial["train"], "device": "cuda" if ray.get_gpu_ids() else "cpu"})
        run = _Run(data, objective, storage, timeout_s, trial["resume_from"])
        try:
            _report_epochs(config, run)
        except torch.OutOfMemoryError as error:
            if config.batch_size % 2:
                raise
            smaller = dataclasses.replace(
                config, batch_size=config.batch_size // 2, accumulate_steps=config.accumulate_steps * 2
            )
            note = f"{describe(error)} (went on with {smaller.batch_size} images at a time)"
            traceback.clear_frames(error.__traceback__)  # they hold the model
            _free_memory()
            _report_epochs(smaller, run, note)
    except (NonFiniteLossError, ConfigError, torch.OutOfMemoryError) as error:  # on another node it would end the same
        traceback.clear_frames(error.__traceback__)
        tune.report({FAILED: describe(error), f"best_{objective.metric}": math.nan})
    except UnwritableError as error:
        traceback.clear_frames(error.__traceback__)
        tune.report({UNFIT: first_line(error), f"best_{objective.metric}": math.nan})
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model until Ray has passed the error on
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        _free_memory()  # the process lives on and may share its GPU


@dataclass(frozen=True)
class _Run:
    """What ``run_trial`` was given beside the configuration."""

    data: Dataset
    objective: Objective
    storage: str
    timeout_s: float
    resume_from: str | None


def _report_epochs(config: TrainConfig, run: _Run, note: str | None = None) -> None:
    """Trains what remains of a trial; its first report carries the note, if there is one."""
    before = restore(run.resume_from, run.storage)
    trained = before.models[-1].config if isinstance(before, Folded) else before.config if before else config
    if trained.batch_size < config.batch_size:  # it had run out of memory, and would again
        config = dataclasses.replace(trained, device=config.device)
    if isinstance(before, Folded) or (before is None and run.data.folds):
        steps = fold_steps(config, run.data, run.objective, before)
    else:
        steps = epoch_steps(config, run.data, run.objective, before)
    frozen: FrozenPart | None = None
    extra: dict[str, Any] = {HALVED: note} if note else {}
    for step in steps:
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # armed anew: so has the report its own time
        if step is None:  # an epoch of a fold
            continue
        if config.frozen and frozen is None:
            with writing():
                frozen = store_frozen(step.state, config.frozen, run.storage)
        with tempfile.TemporaryDirectory() as folder, writing():
            step.save(Path(folder) / FOLDER, frozen)
            reported = {"epoch": step.number, **step.figures, **extra, CHECKPOINT_RANK: step.rank}
            tune.report(reported, checkpoint=tune.Checkpoint.from_directory(folder))
        extra = {}
        faulthandler.dump_traceback_later(run.timeout_s, exit=True)  # and the next epoch


_lacking = cache(lacks)  # a process looks once


@cache
def _settle_process() -> None:
    """What a worker does before its first trial."""
    gc.freeze()  # imported modules need not be searched for garbage at the end of every trial
    logging.getLogger("trainables").setLevel(logging.INFO)  # what was decided goes into the worker's log


def _free_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _reserved_cpus() -> float:
    resources = tune.get_context().get_trial_resources()
    return float(resources.head_cpus) if resources else 1.0
