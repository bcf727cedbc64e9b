"""An ensemble's version in the registry: registered once, the champion or a challenger of it, and described."""

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

from analysis.registry.model_card import HEADING, ModelCard
from analysis.registry.model_files import saved
from trainables.core.metric_names import is_better
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combine import Combination

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Registered:
    """What became of an ensemble in the registry.

    Attributes:
        version: The registered version.
        alias: ``champion`` or ``challenger``.
        reason: Why, in one line.
    """

    version: str
    alias: str
    reason: str


@dataclass(frozen=True)
class Entrant:
    """What is to be registered.

    Attributes:
        members: Of those that have a vote the checkpoints of their models: one, or one a fold.
        combination: Of these members.
        views: What each of them sees of an image.
        metadata: Stored with the model; must tell the ensembles of a run apart. ``metric``, ``select_score`` and
            ``select_fingerprint`` decide whether it becomes the champion.
        roi: The folder of the segmentation to whose regions images are cut, or None.
    """

    members: Sequence[Sequence[Checkpoint]]
    combination: Combination
    views: str
    metadata: dict[str, Any]
    roi: Path | None = None


def register_ensemble(tracking_uri: str, run_id: str, name: str, entrant: Entrant) -> Registered:
    """Logs the ensemble to a run, registers it, once, and points ``@champion`` or ``@challenger`` at it.

    The model is safetensors, JSON and a copy of the ``trainables`` package: it loads where the environment is, without
    this repository and without a pickle.

    Args:
        tracking_uri: Of MLflow; the registry lies there too.
        run_id: The parent run.
        name: Of the registered model.
        entrant: The ensemble.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    version = _version_of(client, run_id, name, entrant.metadata) or _register(run_id, name, entrant)
    alias, reason = _alias(_champion(client, name), version, entrant.metadata)
    client.set_registered_model_alias(name, alias, version)
    client.set_model_version_tag(name, version, "tune.alias_reason", reason)
    return Registered(version, alias, reason)


def _alias(champion: tuple[str, dict[str, Any]] | None, version: str, metadata: dict[str, Any]) -> tuple[str, str]:
    """Which alias a version gets, and why: champions are beaten on the very same images, and folds of them, alone."""
    if champion is None:
        return CHAMPION, "there was no champion"
    held, of_champion = champion
    if held == version:
        return CHAMPION, "it is the champion already"
    metric, ours, theirs = metadata["metric"], metadata["select_score"], of_champion.get("select_score")
    if of_champion.get("select_fingerprint") != metadata["select_fingerprint"]:
        why = f"version {held} is the champion and was chosen on other images or folds, so they cannot be compared"
        return CHALLENGER, why
    if of_champion.get("metric") != metric or theirs is None:
        return CHALLENGER, f"version {held} is the champion and was chosen by {of_champion.get('metric')}"
    where = metadata.get("chosen_on", "select")
    scores = f"{metric} {ours:.4f} on {where}, where version {held} has {theirs:.4f}"
    return (CHAMPION, f"it has {scores}") if is_better(metric, ours, theirs) else (CHALLENGER, f"it has only {scores}")


def _champion(client: MlflowClient, name: str) -> tuple[str, dict[str, Any]] | None:
    """The champion's version and metadata."""
    held = client.get_registered_model(name).aliases.get(CHAMPION)
    if held is None:
        return None
    return str(held), mlflow.models.get_model_info(f"models:/{name}/{held}").metadata or {}


def _version_of(client: MlflowClient, run_id: str, name: str, metadata: dict[str, Any]) -> str | None:
    """The version that a driver registered and did not live to note."""
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        uri = f"models:/{name}/{version.version}"
        if version.name == name and mlflow.models.get_model_info(uri).metadata == metadata:
            return str(version.version)
    return None


def _register(run_id: str, name: str, entrant: Entrant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        files = saved(Path(folder) / "ensemble", entrant.members, entrant.combination, entrant.views, entrant.roi)
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
    """A blank image: an example from the data would put a patient into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(buffer, format="PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})


def describe(tracking_uri: str, version: str, card: ModelCard) -> None:
    """Writes the card onto the pages of a registered version and of its model.

    The model's own page is the champion's; a text that a person wrote there is left alone.
    """
    client = MlflowClient(tracking_uri)
    text = card.description(version)
    client.update_model_version(card.name, version, description=text)
    for tag, value in card.tags().items():
        client.set_model_version_tag(card.name, version, tag, value)
    there = client.get_registered_model(card.name).description
    if card.alias == CHAMPION and (not there or there.startswith(HEADING)):
        client.update_registered_model(card.name, description=text)
