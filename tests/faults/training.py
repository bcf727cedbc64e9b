"""Small real searches on data sets that inject faults into their workers."""

import math
import os
import signal
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from ray import tune

import trainables.core.models.checkpoints.checkpoint
import trainables.worker.steps
import trainables.worker.trainable
from analysis.trials import read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import Objective
from tuning.ray_backend.resources import Resources
from tuning.ray_backend.tuner import TrialPolicy, build_tuner, fit
from tuning.study.steering import Steering
from tuning.study.storage.open_study import open_study, study_storage

METRIC = "balanced_accuracy"
CONFIG = {
    "backbone": "scratch_cnn",
    "weights": "random",
    "image_size": 32,
    "head": "linear",
    "freeze_depth": 1,
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 16,
    "epochs": 3,
    "seed": 0,
}


def run(
    folder,
    data,
    configs=(CONFIG,),
    timeout_s=3600.0,
    max_failures=1,
    callbacks=(),
    concurrent=None,
    pruning=False,
    devices=1,
    watch=None,
):
    """Run a session that trains each configuration once; return the records of its trials.

    ``watch`` makes a callback from the state of the driver.
    """
    folder.mkdir(exist_ok=True)
    steps = len(data.folds) or configs[0]["epochs"]
    study = open_study(study_storage(folder, None), "search", Objective(METRIC), steps, 0, pruning)
    steering = Steering(
        study=study,
        objective=Objective(METRIC),
        epochs=steps,
        num_samples=len(configs),
        max_concurrent=concurrent,
        deadline=math.inf,
        configure=lambda trial: configs[trial.number],
        storage=str(folder),
        unit="fold" if data.folds else "epoch",
    )
    policy = TrialPolicy(Resources(1, 0), max_failures, timeout_s, devices=devices)
    callbacks = [*callbacks, *([watch(steering)] if watch else [])]
    fit(build_tuner(steering, data, policy, "session-001", callbacks, EndOfSearch(steering)))
    return read_trials(study)


class EndOfSearch(tune.Stopper):
    """A stopper that ends a session whose search is complete, as ``tune-run`` does."""

    def __init__(self, steering):
        self.steering = steering

    def __getstate__(self):
        return {}

    def __call__(self, trial_id, result):
        return False

    def stop_all(self):
        return self.steering.is_complete()


class EndsTime(tune.Callback):
    """A callback that ends the time budget with the first report, and counts the trials that have started."""

    def __init__(self, steering):
        self.steering, self.started = steering, 0

    def __getstate__(self):
        return {}

    def on_trial_start(self, iteration, trials, trial, **info):
        self.started += 1

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if self.steering.deadline == math.inf:
            self.steering.deadline = time.monotonic()
            self.started_in_time = self.started


@dataclass(frozen=True)
class WatchedDataset(Dataset):
    """A data set that calls ``watch`` in the worker when a trial reads its splits."""

    folder: Path = Path()

    @classmethod
    def of(cls, data, folder, **more):
        return cls(**{field.name: getattr(data, field.name) for field in fields(Dataset)}, folder=folder, **more)

    def __getattribute__(self, name):
        if name == "splits":
            self.watch()
        return super().__getattribute__(name)

    def watch(self):
        raise NotImplementedError


@dataclass(frozen=True)
class LoggedDataset(WatchedDataset):
    """A data set that logs every epoch of every worker before its checkpoint is written."""

    def watch(self):
        save = trainables.worker.steps.save_checkpoint

        def logging_save(folder, checkpoint, frozen=None):
            with (self.folder / "epochs.txt").open("a") as file:
                file.write(f"{checkpoint.config.seed} {checkpoint.state.epoch}\n")
            self.strike(checkpoint.state.epoch)
            save(folder, checkpoint, frozen)

        if save.__name__ != "logging_save":  # watch is called more than once
            trainables.worker.steps.save_checkpoint = logging_save

    def strike(self, epoch):
        pass

    def trained(self, seed=0):
        """Return the epochs of the configuration with a seed, in the order of training."""
        lines = [line.split() for line in (self.folder / "epochs.txt").read_text().splitlines()]
        return [int(epoch) for logged_seed, epoch in lines if int(logged_seed) == seed]


@dataclass(frozen=True)
class FaultyDataset(LoggedDataset):
    """A data set that injects a fault once, before the checkpoint of an epoch is written, and leaves a marker."""

    fault: str = ""
    epoch: int = 2

    @property
    def marker(self):
        return self.folder / "struck"

    def strike(self, epoch):
        if epoch == self.epoch and not self.marker.exists():
            self.marker.touch()
            FAULTS[self.fault](self.folder)


class AlwaysFaulty(FaultyDataset):
    """A data set that injects its fault every time, because its marker never exists."""

    @property
    def marker(self):
        return _Nowhere()


class FaultyInEachEpoch(FaultyDataset):
    """A data set that injects its fault once in each epoch."""

    def strike(self, epoch):
        struck = self.folder / f"struck-{epoch}"
        if not struck.exists():
            struck.touch()
            FAULTS[self.fault](self.folder)


@dataclass(frozen=True)
class SlowToEnd(WatchedDataset):
    """A data set that delays the end of every trial."""

    def watch(self):
        trainables.worker.trainable._free_memory = lambda: time.sleep(4)


class FaultyAfterPause(FaultyDataset):
    """A data set that injects its fault into a trial that continues after a pause."""

    def strike(self, epoch):
        if "-after-" in Path(tune.get_context().get_trial_dir()).name:
            super().strike(epoch)


class _Nowhere:
    def exists(self):
        return False

    def touch(self):
        pass


def raises(folder):
    raise RuntimeError("struck in the second epoch")


def is_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def is_killed_before_the_rename(folder):
    trainables.core.models.checkpoints.checkpoint._sync = is_killed


def hangs(folder):
    time.sleep(3600)


def runs_out_of_gpu_memory(folder):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")


def takes_the_nodes_memory(folder):
    taken = []
    for _ in range(400):  # 40 GB: the memory monitor must kill the worker long before that
        taken.append(np.ones(12_500_000))
        time.sleep(0.02)


def tears_its_last_checkpoint(folder):
    trial = Path(tune.get_context().get_trial_dir()).name
    last = max(folder.rglob(f"{trial}/checkpoint_*/checkpoint/**/state.safetensors"))
    last.write_bytes(last.read_bytes()[:1000])
    raises(folder)


FAULTS = {
    "raises": raises,
    "is killed": is_killed,
    "is killed before the checkpoint's rename": is_killed_before_the_rename,
    "hangs": hangs,
    "runs out of GPU memory": runs_out_of_gpu_memory,
    "takes the node's memory": takes_the_nodes_memory,
    "finds its checkpoint torn": tears_its_last_checkpoint,
}
