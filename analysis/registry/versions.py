"""Versions of a registered model: each ensemble is registered once, as champion or challenger, and gets a card."""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from PIL import Image

from analysis.ensembles.result import Registration
from analysis.registry.model_card import HEADING, ModelCard
from analysis.registry.model_files import save_model_files
from trainables.core.metric_names import is_better
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combine import Combination

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Entrant:
    """An ensemble to register.

    Attributes:
        members: Checkpoints of each voting member's models: one, or one per fold.
        combination: Fitted rule of these members.
        views: Views of each image that members average over.
        metadata: Metadata of the model, different for each ensemble of a run. ``metric``, ``select_score`` and
            ``select_fingerprint`` decide whether it becomes the champion.
        roi: Folder of the segmentation that images are cropped with, or None.
    """

    members: Sequence[Sequence[Checkpoint]]
    combination: Combination
    views: str
    metadata: dict[str, Any]
    roi: Path | None = None


def register_ensemble(tracking_uri: str, run_id: str, name: str, entrant: Entrant) -> Registration:
    """Log an ensemble to a run, register it, and point ``@champion`` or ``@challenger`` at it.

    The model is safetensors, JSON and a copy of the ``trainables`` package. It loads in an environment with its
    requirements, without this repository and without a pickle. Registering the same ensemble twice is safe.

    Args:
        tracking_uri: URI of MLflow and its registry.
        run_id: Parent run.
        name: Name of the registered model.
        entrant: Ensemble to register.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    version = _version_of(client, run_id, name, entrant.metadata) or _register(run_id, name, entrant)
    alias, reason = _alias(_champion(client, name), version, entrant.metadata)
    client.set_registered_model_alias(name, alias, version)
    client.set_model_version_tag(name, version, "tune.alias_reason", reason)
    return Registration(version, alias, reason)


def _alias(champion: tuple[str, dict[str, Any]] | None, version: str, metadata: dict[str, Any]) -> tuple[str, str]:
    """Return a version's alias and the reason. Only a score on the same images and folds can beat a champion."""
    if champion is None:
        return CHAMPION, "there was no champion"
    current, other = champion
    if current == version:
        return CHAMPION, "it is the champion already"
    metric, ours, theirs = metadata["metric"], metadata["select_score"], other.get("select_score")
    if other.get("select_fingerprint") != metadata["select_fingerprint"]:
        other_images = f"version {current} is the champion and was chosen on other images or folds"
        return CHALLENGER, f"{other_images}, so they cannot be compared"
    if other.get("metric") != metric or theirs is None:
        return CHALLENGER, f"version {current} is the champion and was chosen by {other.get('metric')}"
    where = metadata.get("chosen_on", "select")
    if ours == theirs:
        return CHALLENGER, f"its {metric} on {where} equals that of version {current}, the champion: {ours:.4f}"
    scores = f"{metric} {ours:.4f} on {where}, where version {current} has {theirs:.4f}"
    return (CHAMPION, f"it has {scores}") if is_better(metric, ours, theirs) else (CHALLENGER, f"it has only {scores}")


def _champion(client: MlflowClient, name: str) -> tuple[str, dict[str, Any]] | None:
    """Return the champion's version and metadata."""
    current = client.get_registered_model(name).aliases.get(CHAMPION)
    if current is None:
        return None
    return str(current), mlflow.models.get_model_info(f"models:/{name}/{current}").metadata or {}


def _version_of(client: MlflowClient, run_id: str, name: str, metadata: dict[str, Any]) -> str | None:
    """Return the version of an earlier driver that ended before it could save it."""
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        uri = f"models:/{name}/{version.version}"
        if version.name == name and mlflow.models.get_model_info(uri).metadata == metadata:
            return str(version.version)
    return None


def _register(run_id: str, name: str, entrant: Entrant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        files = save_model_files(
            Path(folder) / "ensemble", entrant.members, entrant.combination, entrant.views, entrant.roi
        )
        with mlflow.start_run(run_id=run_id):
            info = mlflow.pyfunc.log_model(
                name="ensemble",
                input_example=_blank_example(),
                registered_model_name=name,
                metadata=entrant.metadata,
                **files,
            )
    return str(info.registered_model_version)


def _blank_example() -> pd.DataFrame:
    """Return a blank image: an example from the data would put a patient into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(buffer, format="PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})


def write_card(tracking_uri: str, card: ModelCard) -> None:
    """Write a model card to the page of its version and, for the champion, to the page of the model.

    A description of the model that a person wrote is left unchanged.
    """
    client, version, text = MlflowClient(tracking_uri), card.registration.version, card.description()
    client.update_model_version(card.name, version, description=text)
    for tag, value in card.tags().items():
        client.set_model_version_tag(card.name, version, tag, value)
    existing = client.get_registered_model(card.name).description
    if card.registration.alias == CHAMPION and (not existing or existing.startswith(HEADING)):
        client.update_registered_model(card.name, description=text)
