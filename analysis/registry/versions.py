"""Versions of a registered model: each ensemble is registered once, as champion or challenger, and gets a card."""

import dataclasses
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from PIL import Image

from analysis.ensembles.result import Registration
from analysis.registry.mlflow_patches import unchecked_requirements
from analysis.registry.model_card import NOT_SCORED, SCORED, YES, ModelCard
from analysis.registry.model_files import COMBINATION, Entrant, save_model_files
from analysis.registry.pages import write_page
from analysis.registry.promotions import (
    CHALLENGER,
    CHAMPION,
    PROMOTED_BY,
    REASON,
    SEARCH,
    make_champion,
    replaced_by,
    show_champion,
    versions_of,
)
from trainables.core.metric_names import is_better
from trainables.core.serving.ensemble_files import ensemble_digest

_DIGEST = "sha256"  # the key of the digest in the metadata of a model
_ROUNDS = 10  # searches may write the alias in turn
_COMPARED = {"metric", "select_score", "select_fingerprint"}
_Version = tuple[str, dict[str, Any]]  # a version and its model's metadata


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
    # The same members with other weights, thresholds or prediction sets are another ensemble.
    metadata = {**entrant.metadata, COMBINATION: entrant.combination.digest}
    entrant = dataclasses.replace(entrant, metadata=metadata)
    version = _version_of(client, run_id, name, metadata) or _register(run_id, name, entrant)
    alias, reason = _settle(client, name, version, metadata)
    if alias == CHALLENGER:
        client.set_registered_model_alias(name, CHALLENGER, version)
    client.set_model_version_tag(name, version, REASON, reason)
    return Registration(version, alias, reason, _metadata(name, version).get(_DIGEST, ""))


def _settle(client: MlflowClient, name: str, version: str, metadata: dict[str, Any]) -> tuple[str, str]:
    """Point ``@champion`` at the best version; return the given version's alias and the reason.

    MLflow cannot compare and set an alias in one step, so each search looks again after it has written. Its rivals are
    the versions that had no alias when it began, or were registered since. Whoever writes last sees all of them. If the
    champion itself is not settled, its search may have died before it looked again: then all versions are rivals.
    """
    settled = {str(each.version) for each in versions_of(client, name) if REASON in each.tags}
    first = _champion(client, name)
    settled = settled | {version} if first is None or first[0] in settled else set()
    for _ in range(_ROUNDS):
        current, rivals = _champion(client, name), _rivals(client, name, settled) | {version: metadata}
        best, reason = _best(first if current is None or current[0] in rivals else current, rivals)
        if current is not None and best[0] == current[0]:
            break
        make_champion(client, name, best[0], current[0] if current else None, SEARCH, reason)
    return (CHAMPION, reason) if best[0] == version else _alias(best, version, metadata)


def _rivals(client: MlflowClient, name: str, settled: set[str]) -> dict[str, dict[str, Any]]:
    """Return the metadata of all ensembles whose version is not settled."""
    versions = [str(each.version) for each in versions_of(client, name) if str(each.version) not in settled]
    found = {version: _metadata(name, version) for version in versions}
    return {version: metadata for version, metadata in found.items() if metadata.keys() >= _COMPARED}


def _best(champion: _Version | None, rivals: dict[str, dict[str, Any]]) -> tuple[_Version, str]:
    """Return the version that is champion after all rivals, in order of registration, and the reason."""
    best, reason = champion, "it is the champion already"
    for version in sorted(rivals, key=int):
        if best is None or best[0] != version:
            alias, why = _alias(best, version, rivals[version])
            if alias == CHAMPION:
                best, reason = (version, rivals[version]), why
    assert best is not None
    return best, reason


def _alias(champion: _Version | None, version: str, metadata: dict[str, Any]) -> tuple[str, str]:
    """Return a version's alias and the reason. Only a score on the same images and folds can beat a champion."""
    if champion is None:
        return CHAMPION, "no version was the champion before"
    current, other = champion
    if current == version:
        return CHAMPION, "it is the champion already"
    if PROMOTED_BY in other:
        return CHALLENGER, f"version {current} was promoted by {other[PROMOTED_BY]}, and only tune-promote replaces it"
    metric, ours, theirs = metadata["metric"], metadata["select_score"], other.get("select_score")
    if other.get("select_fingerprint") != metadata["select_fingerprint"]:
        other_images = f"version {current} is the champion and was chosen on other images or folds"
        return CHALLENGER, f"{other_images}, so they cannot be compared"
    if other.get("metric") != metric or theirs is None:
        return CHALLENGER, f"version {current} is the champion and was chosen by {other.get('metric')}"
    where = metadata.get("chosen_on", "select")
    if math.isclose(ours, theirs):
        return CHALLENGER, f"its {metric} on {where} equals that of version {current}, the champion: {ours:.4f}"
    digits = next((count for count in range(4, 9) if f"{ours:.{count}f}" != f"{theirs:.{count}f}"), 9)
    scores = f"{metric} {ours:.{digits}f} on {where}, where version {current} has {theirs:.{digits}f}"
    return (CHAMPION, f"it has {scores}") if is_better(metric, ours, theirs) else (CHALLENGER, f"it has only {scores}")


def _champion(client: MlflowClient, name: str) -> _Version | None:
    current = client.get_registered_model(name).aliases.get(CHAMPION)
    if current is None:
        return None
    tags = client.get_model_version(name, str(current)).tags
    return str(current), _metadata(name, str(current)) | {key: tags[key] for key in (PROMOTED_BY,) if key in tags}


def _metadata(name: str, version: str) -> dict[str, Any]:
    return mlflow.models.get_model_info(f"models:/{name}/{version}").metadata or {}


def _version_of(client: MlflowClient, run_id: str, name: str, metadata: dict[str, Any]) -> str | None:
    """Return the version of an earlier driver that ended before it could save it."""
    for version in versions_of(client, name):
        if version.run_id == run_id:
            found = _metadata(name, str(version.version))
            found.pop(_DIGEST, None)
            if found == metadata:
                return str(version.version)
    return None


def _register(run_id: str, name: str, entrant: Entrant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        files = save_model_files(Path(folder) / "ensemble", entrant)
        with mlflow.start_run(run_id=run_id), unchecked_requirements():
            info = mlflow.pyfunc.log_model(
                name="ensemble",
                input_example=_blank_example(),
                registered_model_name=name,
                metadata={**entrant.metadata, _DIGEST: ensemble_digest(Path(folder) / "ensemble")},
                **files,
            )
    return str(info.registered_model_version)


def _blank_example() -> pd.DataFrame:
    """Return a blank image: an example from the data would put a patient into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(buffer, format="PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})


def _has_test_scores(version: ModelVersion) -> bool:
    """Return True if a version's page has test scores. Versions of earlier releases say so only in words."""
    page = version.description or ""
    scored: bool = version.tags[SCORED] == YES if SCORED in version.tags else NOT_SCORED not in page
    return bool(page) and scored


def write_card(tracking_uri: str, card: ModelCard) -> None:
    """Write a model card to the page of its version and, for the champion, to the page of the model.

    A description of the model that a person wrote is left unchanged, and so is the page of a version with test scores
    if the card, of the same ensemble, has none. If another search has replaced the champion since it was registered,
    the card says so.
    """
    client, version, text = MlflowClient(tracking_uri), card.registration.version, card.description()
    registered = client.get_model_version(card.name, version)
    if card.evaluation is None and _has_test_scores(registered):
        return
    replaced = replaced_by(client, card.name, version) if card.registration.alias == CHAMPION else None
    if replaced is not None:
        text = replaced.on_former_page(text)
    page = write_page(client, registered, text)
    for tag, value in card.tags().items():
        client.set_model_version_tag(card.name, version, tag, value)
    if card.registration.alias == CHAMPION and replaced is None:
        show_champion(client, card.name, page)
