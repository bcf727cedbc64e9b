"""The ensemble as an MLflow model, registered under the space's name with an alias."""

import importlib.metadata
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from PIL import Image

import trainables
from trainables.core.checkpoint import Checkpoint
from trainables.core.models.served import save_ensemble

CHAMPION = "champion"
_NEEDED = (
    "albumentations",
    "filelock",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "scikit-learn",
    "timm",
    "torch",
    "torchvision",
)


def register_ensemble(
    tracking_uri: str,
    run_id: str,
    name: str,
    members: Sequence[tuple[Checkpoint, float]],
    class_names: tuple[str, ...],
    metadata: dict[str, Any],
) -> str:
    """Logs the ensemble to a run, registers it and points ``@champion`` at it; the same one only once.

    The model is safetensors, JSON and a copy of the ``trainables`` package: it loads where the environment is, without
    this repository and without a pickle.

    Args:
        tracking_uri: Of MLflow; the registry lies there too.
        run_id: The parent run.
        name: Of the registered model.
        members: Checkpoints and their weights.
        class_names: C names in class order: the output's columns.
        metadata: Stored with the model; must tell the ensembles of a run apart.

    Returns:
        The registered version.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    version = _version_of(client, run_id, name, metadata) or _register(run_id, name, members, class_names, metadata)
    client.set_registered_model_alias(name, CHAMPION, version)
    return version


def _version_of(client: MlflowClient, run_id: str, name: str, metadata: dict[str, Any]) -> str | None:
    """The version that a driver registered and did not live to note."""
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        uri = f"models:/{name}/{version.version}"
        if version.name == name and mlflow.models.get_model_info(uri).metadata == metadata:
            return str(version.version)
    return None


def _register(
    run_id: str,
    name: str,
    members: Sequence[tuple[Checkpoint, float]],
    class_names: tuple[str, ...],
    metadata: dict[str, Any],
) -> str:
    # A column without a name takes a data frame of any column name, or a list; its type takes bytes, text and arrays.
    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType())]),
        outputs=Schema([ColSpec("float", class_name) for class_name in class_names]),
    )
    with tempfile.TemporaryDirectory() as folder:
        save_ensemble(Path(folder) / "ensemble", members)
        with mlflow.start_run(run_id=run_id):
            info = mlflow.pyfunc.log_model(
                name="ensemble",
                loader_module="trainables.core.models.served",
                data_path=str(Path(folder) / "ensemble"),
                code_paths=[str(Path(trainables.__file__).parent)],
                signature=signature,
                input_example=_blank_example(),
                pip_requirements=_requirements(),
                registered_model_name=name,
                metadata=metadata,
            )
    return str(info.registered_model_version)


def _requirements() -> list[str]:
    """The versions at hand, as the index knows them: without a local part such as ``+cu130``."""
    return [f"{package}=={importlib.metadata.version(package).partition('+')[0]}" for package in _NEEDED]


def _blank_example() -> pd.DataFrame:
    """A blank image: an example from the data would put a patient into the registry."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(buffer, format="PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})
