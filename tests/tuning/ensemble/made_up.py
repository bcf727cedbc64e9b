"""A made-up data set, a study of its trials, and their predictions."""

import io
from dataclasses import dataclass

import numpy as np
import optuna
from rich.console import Console

from analysis.trials import CONFIG, EpochRecord
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.images import PixelFormat
from tuning.ensemble.build import find_ensemble
from tuning.ensemble.members import EnsembleRequest

METRIC = "balanced_accuracy"
BEST = (0.6, 0.9, 0.7, 0.8, 0.95)


@dataclass
class Tracker:
    uri: str = "sqlite:///nowhere.db"
    parent_id: str = "run"


class Inference:
    """Predictions by checkpoint and split; remembers the splits."""

    def __init__(self, data):
        self.data, self.splits = data, []

    def __call__(self, checkpoints, split):
        self.splits.append(split)
        labels = self.data.labels[self.data.splits[split]]
        generators = [np.random.default_rng([ord(place[-1]), len(split)]) for place in checkpoints]
        odds = np.stack([np.exp(each.normal(size=(len(labels), 2)) + np.eye(2)[labels]) for each in generators])
        return (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)


def made_up_data():
    """200 images of two classes, two a group."""
    labels = np.random.default_rng(0).integers(0, 2, 200)
    splits = {"fit": range(80), "tune": range(80, 100), "select": range(100, 150), "test": range(150, 200)}
    return Dataset(
        place="made up",
        fingerprint="f" * 64,
        class_names=("a", "b"),
        labels=labels,
        groups=np.arange(200) // 2,
        splits={name: np.array(indices) for name, indices in splits.items()},
        pixel_format=PixelFormat(1, 255),
    )


def made_up_study(epochs=(1, 1, 1, 1, 1)):
    """Trials with this many reports: all but the last ran in full, and that one was stopped."""
    study = optuna.create_study()
    for number, (value, count) in enumerate(zip(BEST, epochs, strict=True)):
        trial = study.ask()
        trial.set_user_attr(CONFIG, {"backbone": "scratch_cnn", "image_size": 32})
        metrics = {"best_epoch": 1, f"best_{METRIC}": value, "best_macro_f1": value, f"best_patient_{METRIC}": value}
        for epoch in range(1, count + 1):
            trial.set_user_attr(*EpochRecord(epoch, metrics, 1, f"checkpoint-{number}").attribute())
        if number == len(BEST) - 1:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return study


def quiet():
    return Console(file=io.StringIO(), width=100)


def find(study, data, infer, metric=METRIC, **changes):
    return find_ensemble(study, data, EnsembleRequest(metric, **changes), infer, Tracker(), quiet())
