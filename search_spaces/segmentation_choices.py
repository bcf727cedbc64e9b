"""Suggestions for segmentation spaces to combine. Each returns keys of a ``SegmentationConfig``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from search_spaces.space import Config


def network(trial: "BaseTrial", architectures: Sequence[str], backbones: Sequence[str]) -> "Config":
    """Suggest an architecture and its encoder."""
    return {
        "architecture": trial.suggest_categorical("architecture", list(architectures)),
        "backbone": trial.suggest_categorical("backbone", list(backbones)),
    }


def frozen(trial: "BaseTrial") -> "Config":
    """Suggest whether the encoder is frozen. Decoder and head are always trained."""
    return {"freeze_encoder": trial.suggest_categorical("freeze_encoder", [False, True])}


def mask_loss(trial: "BaseTrial", losses: Sequence[str]) -> "Config":
    """Suggest a loss and its parameter."""
    name = trial.suggest_categorical("loss", list(losses))
    if name.startswith("focal"):
        return {"loss": name, "focal_gamma": trial.suggest_float("focal_gamma", 0.5, 3.0, step=0.5)}
    return {"loss": name}
