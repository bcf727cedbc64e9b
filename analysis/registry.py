"""The ensemble as an MLflow model, registered under the space's name with an alias; how often tests were opened."""

import importlib.metadata
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from PIL import Image

import trainables
from analysis.model_card import HEADING, ModelCard
from analysis.trials import EpochRecord
from trainables.core.checkpoint import Checkpoint
from trainables.core.config import SegmentationConfig
from trainables.core.errors import UserError, first_line
from trainables.core.metrics import is_better
from trainables.core.models.combination import Combination
from trainables.core.models.detr import ARCHITECTURE as DETR
from trainables.core.models.served import save_ensemble
from trainables.core.models.served_masks import MASK

CHAMPION, CHALLENGER = "champion", "challenger"
MEMBER = "model"
# Tags of a parent run: a test set that the search has opened, and how often.
_OPENED, _OPENINGS = "tune.test_fingerprint", "tune.test_openings"
_NEEDED = (
    "albumentations",
    "filelock",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-learn",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "torchvision",
)


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


def note_openings(tracking_uri: str, run_id: str, fingerprint: str, count: int) -> int:
    """Notes on a search's parent run how often it has opened a test set; returns how often others have, anywhere.

    Deleted runs count as well: what was seen stays seen.

    Args:
        tracking_uri: Of MLflow.
        run_id: The search's parent run.
        fingerprint: Of the test set.
        count: The search's openings of it.
    """
    client = MlflowClient(tracking_uri)
    client.set_tag(run_id, _OPENED, fingerprint)
    client.set_tag(run_id, _OPENINGS, str(count))
    experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    elsewhere, token = 0, None
    while True:
        page = client.search_runs(experiments, f"tags.`{_OPENED}` = '{fingerprint}'", ViewType.ALL, page_token=token)
        elsewhere += sum(int(run.data.tags.get(_OPENINGS, 1)) for run in page if run.info.run_id != run_id)
        token = page.token
        if not token:
            break
    client.log_metric(run_id, "test_openings", count + elsewhere)
    return elsewhere


def _register(run_id: str, name: str, entrant: Entrant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        save_ensemble(Path(folder) / "ensemble", entrant.members, entrant.combination, entrant.views, entrant.roi)
        with mlflow.start_run(run_id=run_id):
            info = mlflow.pyfunc.log_model(
                name="ensemble",
                input_example=_blank_example(),
                registered_model_name=name,
                metadata=entrant.metadata,
                **_flavour(Path(folder) / "ensemble", entrant.members),
            )
    return str(info.registered_model_version)


def _flavour(folder: Path, members: Sequence[Sequence[Checkpoint]]) -> dict[str, Any]:
    """How MLflow stores the ensemble in ``folder``: its files, a copy of ``trainables``, what it takes and gives."""
    model = members[0][0]
    # A column without a name takes a data frame of any column name, or a list; its type takes bytes, text and arrays.
    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType())]),
        outputs=Schema(
            [ColSpec("string", MASK)]
            if model.config.task == SegmentationConfig.task
            else [ColSpec("float", class_name) for class_name in model.class_names]
        ),
    )
    return {
        "loader_module": "trainables.core.models.served",
        "data_path": str(folder),
        "code_paths": [str(Path(trainables.__file__).parent)],
        "signature": signature,
        "pip_requirements": _requirements(members),
    }


def log_member(
    tracking_uri: str,
    run_id: str,
    models: Sequence[Checkpoint],
    report: EpochRecord,
    metadata: dict[str, Any],
    roi: Path | None = None,
) -> None:
    """Makes a trial's model loadable by itself as ``runs:/<run_id>/model``; to do so again changes nothing.

    The run's status is left as it is.

    Args:
        tracking_uri: Of MLflow.
        run_id: The trial's run.
        models: Of its best epoch: one, or of its folds.
        report: Of that epoch; the model carries its metrics.
        metadata: Stored with the model.
        roi: The folder of the segmentation to whose regions images are cut, or None.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    model = _begin_member(client, run_id, report)
    if str(model.status) == "READY":
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[^A]*An input example was not provided")  # to try one takes seconds a member
        save_ensemble(Path(folder) / "ensemble", [models], Combination.of(np.ones(1)), "none", roi)
        about = Model(run_id=run_id, model_uuid=model.model_id, model_id=model.model_id, metadata=metadata)
        flavour = _flavour(Path(folder) / "ensemble", [models])
        mlflow.pyfunc.save_model(str(Path(folder) / MEMBER), mlflow_model=about, **flavour)
        client.log_model_artifacts(model.model_id, str(Path(folder) / MEMBER))
    client.finalize_logged_model(model.model_id, "READY")


def _begin_member(client: MlflowClient, run_id: str, report: EpochRecord) -> LoggedModel:
    """The run's LoggedModel: one that an earlier driver began, else a new one.

    It is gone on with under its own id, because MLflow would find either of two of a name.
    """
    run = client.get_run(run_id)
    experiment_id = run.info.experiment_id
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND name = '{MEMBER}'")
    model = next(iter(found), None) or client.create_logged_model(experiment_id, MEMBER, run_id)
    if str(model.status) != "READY":
        if model.model_id not in {output.model_id for output in (run.outputs.model_outputs if run.outputs else [])}:
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=report.epoch)])
        of_model = {"model_id": model.model_id, "run_id": run_id}
        metrics = [
            Metric(name, value, report.time_ms, report.epoch, **of_model) for name, value in report.metrics.items()
        ]
        client.log_batch(run_id, metrics)
    return model


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


@contextmanager
def fetched_model(tracking_uri: str, model: str) -> Iterator[Path]:
    """Downloads a model as MLflow stores it, without running anything of it, into a folder that lasts for the block.

    Args:
        tracking_uri: Of MLflow, which must answer.
        model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/NAME``.

    Raises:
        UserError: There is no such model, or its files are not there.
    """
    mlflow.set_tracking_uri(tracking_uri)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise UserError(f"MODEL must be in MLflow, but {model} is not: {first_line(error)}") from error
        yield Path(place)


def _requirements(members: Sequence[Sequence[Checkpoint]]) -> list[str]:
    """The versions at hand, as the index knows them: without a local part such as ``+cu130``."""
    configs = [model.config for models in members for model in models]
    is_detr = any(isinstance(one, SegmentationConfig) and one.architecture == DETR for one in configs)
    needed = (*_NEEDED, "transformers") if is_detr else _NEEDED
    return [f"{package}=={importlib.metadata.version(package).partition('+')[0]}" for package in needed]


def _blank_example() -> pd.DataFrame:
    """A blank image: an example from the data would put a patient into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(buffer, format="PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})
