"""The Ray trainable of a search, and the only report loop there is."""

import gc
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from trainables.core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainables.core.config import TrainConfig
from trainables.core.data.cache import Dataset
from trainables.core.fit import EpochResult, fit
from trainables.core.metrics import is_better

# What every report carries of the best epoch besides the objective: the columns that people sort by.
BEST_METRICS = ("balanced_accuracy", "macro_f1")
# By this Ray keeps a trial's best checkpoint beside its last: the epoch where it is the best so far, else 0.
CHECKPOINT_RANK = "checkpoint_rank"
_FOLDER = "checkpoint"


def run_trial(trial: dict[str, Any], data: Dataset, metric: str) -> None:
    """Trains one configuration, reporting and checkpointing after every epoch.

    Args:
        trial: ``train`` (the dict of a ``TrainConfig``) and ``resume_from`` (a checkpoint's path or URI, or None).
            Ray's own checkpoint of this trial, where it restarts one, goes first.
        data: What to train on.
        metric: The objective, a bare name.

    Reports:
        ``epoch``, ``train/...``, ``tune/...``, ``epoch_seconds``, ``best_epoch``, ``best_<metric>`` and the figures of
        ``BEST_METRICS`` at the best epoch.
    """
    torch.set_num_threads(max(1, int(_reserved_cpus())))
    try:
        _report_epochs(trial, data, metric)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model until Ray has passed the error on
        raise
    finally:
        # The process lives on and may share its GPU; by now nothing of the trial is referred to any more.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _report_epochs(trial: dict[str, Any], data: Dataset, metric: str) -> None:
    config = TrainConfig.from_dict({**trial["train"], "device": "cuda" if ray.get_gpu_ids() else "cpu"})
    before = _restore(trial["resume_from"])
    best: dict[str, float] = before.progress if before else {}
    for result in fit(config, data, before.state if before else None):
        rank = 0
        if is_better(metric, result.metrics[f"tune/{metric}"], best.get(f"best_{metric}")):
            best, rank = _best_of(result, metric), result.epoch
        report = {"epoch": result.epoch, **result.metrics, **best, "epoch_seconds": result.seconds}
        checkpoint = Checkpoint(result.state, config, data.class_names, data.pixel_format, best)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder) / _FOLDER, checkpoint)
            tune.report({**report, CHECKPOINT_RANK: rank}, checkpoint=tune.Checkpoint.from_directory(folder))


@contextmanager
def member_folder(location: str) -> Iterator[Path]:
    """A local folder with the checkpoint that ``run_trial`` wrote at a path or URI."""
    with tune.Checkpoint(location).as_directory() as folder:
        yield Path(folder) / _FOLDER


def _restore(resume_from: str | None) -> Checkpoint | None:
    own = tune.get_checkpoint()
    if own is not None:
        with own.as_directory() as folder:
            return load_checkpoint(Path(folder) / _FOLDER)
    if resume_from is None:
        return None
    with member_folder(resume_from) as folder:
        return load_checkpoint(folder)


def _best_of(result: EpochResult, metric: str) -> dict[str, float]:
    names = dict.fromkeys((metric, *BEST_METRICS))
    return {"best_epoch": result.epoch, **{f"best_{name}": result.metrics[f"tune/{name}"] for name in names}}


def _reserved_cpus() -> float:
    resources = tune.get_context().get_trial_resources()
    return float(resources.head_cpus) if resources else 1.0
