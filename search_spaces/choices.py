"""Conditional suggestions that spaces share; each returns keys of a ``TrainConfig``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from search_spaces.space import Config


def backbone(trial: "BaseTrial", backbones: Sequence[str], quarters: Sequence[int] = (0, 1, 2, 3, 4)) -> "Config":
    """A backbone, and how many quarters of its stages are frozen.

    The share is searched rather than the depth, so that what is learnt of freezing holds across backbones, whatever
    their number of stages; the depth is the nearest to it.
    """
    from trainables.core.models.backbones import stage_count

    name = trial.suggest_categorical("backbone", list(backbones))
    share = trial.suggest_categorical("frozen_quarters", list(quarters)) / 4
    return {"backbone": name, "freeze_depth": round(share * stage_count(name))}


def head(trial: "BaseTrial", heads: Sequence[str] = ("linear", "mlp", "residual", "attention")) -> "Config":
    """A head and its dropout."""
    return {
        "head": trial.suggest_categorical("head", list(heads)),
        "head_dropout": trial.suggest_float("head_dropout", 0.0, 0.6, step=0.1),
    }


def imbalance(trial: "BaseTrial") -> "Config":
    """What is done about rare classes: weights in the loss, the loss itself, and the sampler."""
    weights = ["none", "balanced", "sqrt", "effective", "boosted", "frequency"]
    config: Config = {
        "class_weights": trial.suggest_categorical("class_weights", weights),
        "sampler": trial.suggest_categorical("sampler", ["shuffle", "weighted", "sqrt"]),
        "loss": trial.suggest_categorical("loss", ["cross_entropy", "focal"]),
    }
    if config["loss"] == "focal":
        config["focal_gamma"] = trial.suggest_float("focal_gamma", 0.5, 3.0, step=0.5)
    else:
        config["label_smoothing"] = trial.suggest_float("label_smoothing", 0.0, 0.2, step=0.05)
    return config


def optimizer(trial: "BaseTrial") -> "Config":
    """An optimizer with its own learning rate and parameters: the rates that suit SGD and Adam differ tenfold."""
    name = trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
    config: Config = {
        "optimizer": name,
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.6, 1.0, step=0.1),
        "clip_norm": trial.suggest_categorical("clip_norm", [0.0, 1.0]),
    }
    if name == "sgd":
        config["lr"] = trial.suggest_float("sgd_lr", 1e-4, 3e-1, log=True)
        config["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
        config["nesterov"] = config["momentum"] > 0 and trial.suggest_categorical("nesterov", [False, True])
    else:
        config["lr"] = trial.suggest_float("adam_lr", 1e-5, 1e-2, log=True)
    return config


def schedule(trial: "BaseTrial") -> "Config":
    """A learning-rate schedule with its own parameters, and a warm-up."""
    name = trial.suggest_categorical("schedule", ["constant", "cosine", "step", "exponential", "cyclic"])
    config: Config = {"schedule": name, "warmup_ratio": trial.suggest_float("warmup_ratio", 0.0, 0.2, step=0.05)}
    if name in ("step", "exponential"):
        config["decay_rate"] = trial.suggest_float("decay_rate", 0.1, 0.9, step=0.1)
        config["decay_epochs"] = float(trial.suggest_int("decay_epochs", 1, 10))
    elif name == "cyclic":
        config["cycle_epochs"] = float(trial.suggest_int("cycle_epochs", 2, 10))
    return config


def augmentation(trial: "BaseTrial", policies: Sequence[str] = ("none", "flip", "medical", "strong")) -> "Config":
    """An augmentation policy."""
    return {"augmentation": trial.suggest_categorical("augmentation", list(policies))}


def batch_size(trial: "BaseTrial", sizes: Sequence[int] = (16, 32, 64)) -> "Config":
    """Images in a batch."""
    return {"batch_size": trial.suggest_categorical("batch_size", list(sizes))}
