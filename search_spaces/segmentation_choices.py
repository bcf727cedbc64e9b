"""Suggestions that segmentation spaces share; each returns keys of a ``SegmentationConfig``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from search_spaces.space import Config


def network(trial: "BaseTrial", architectures: Sequence[str], backbones: Sequence[str]) -> "Config":
    """An architecture and its encoder."""
    return {
        "architecture": trial.suggest_categorical("architecture", list(architectures)),
        "backbone": trial.suggest_categorical("backbone", list(backbones)),
    }


def frozen(trial: "BaseTrial") -> "Config":
    """Whether the encoder keeps its pretrained weights. Decoder and head have none to keep."""
    return {"freeze_encoder": trial.suggest_categorical("freeze_encoder", [False, True])}


def mask_loss(trial: "BaseTrial", losses: Sequence[str]) -> "Config":
    """A loss with its own parameter."""
    name = trial.suggest_categorical("loss", list(losses))
    if name.startswith("focal"):
        return {"loss": name, "focal_gamma": trial.suggest_float("focal_gamma", 0.5, 3.0, step=0.5)}
    return {"loss": name}
