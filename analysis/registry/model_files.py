"""Ensembles and their members as MLflow stores them: safetensors, JSON and a copy of ``trainables``."""

import importlib.metadata
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

import trainables
from analysis.trials import EpochRecord
from trainables.core.config import SegmentationConfig
from trainables.core.errors import UserError, first_line
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.detr import ARCHITECTURE as DETR
from trainables.core.serving.combine import Combination
from trainables.core.serving.ensemble import save_ensemble
from trainables.core.serving.mask_ensemble import MASK

MEMBER = "model"
_NEEDED = (
    "albumentations",
    "filelock",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "segmentation-models-pytorch",
    "timm",
    "torch",
    "torchvision",
)


def saved(
    folder: Path, members: Sequence[Sequence[Checkpoint]], combination: Combination, views: str, roi: Path | None
) -> dict[str, Any]:
    """Saves an ensemble and returns how MLflow logs it: its files, a copy of ``trainables``, what it takes and gives.

    Args:
        folder: To be created.
        members: The checkpoints of each member's models.
        combination: Of these members.
        views: What each of them sees of an image.
        roi: The folder of the segmentation to whose regions images are cut, or None.
    """
    save_ensemble(folder, members, combination, views, roi)
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
        "loader_module": "trainables.core.serving.ensemble",
        "data_path": str(folder),
        "code_paths": [str(Path(trainables.__file__).parent)],
        "signature": signature,
        "pip_requirements": _requirements(members),
    }


def _requirements(members: Sequence[Sequence[Checkpoint]]) -> list[str]:
    """The versions at hand, as the index knows them: without a local part such as ``+cu130``."""
    configs = [model.config for models in members for model in models]
    is_detr = any(isinstance(one, SegmentationConfig) and one.architecture == DETR for one in configs)
    needed = (*_NEEDED, "transformers") if is_detr else _NEEDED
    return [f"{package}=={importlib.metadata.version(package).partition('+')[0]}" for package in needed]


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
        about = Model(run_id=run_id, model_uuid=model.model_id, model_id=model.model_id, metadata=metadata)
        files = saved(Path(folder) / "ensemble", [models], Combination.of(np.ones(1)), "none", roi)
        mlflow.pyfunc.save_model(str(Path(folder) / MEMBER), mlflow_model=about, **files)
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
