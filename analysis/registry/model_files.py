"""Files of ensembles and their members in MLflow: safetensors, JSON and a copy of ``trainables``."""

import importlib.metadata
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, get_model_info
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

import trainables
from analysis.ensembles.tasks.base import TaskResults
from analysis.ensembles.tasks.choose import TASKS
from analysis.registry.mlflow_patches import unchecked_requirements
from analysis.trials import EpochRecord
from trainables.core.config import SegmentationConfig, TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import UserError, first_line
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.detr_variants import DETR
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import save_ensemble, stored_configs
from trainables.core.serving.ensembles.base import PATIENTS, WITH_SETS, score_column, unlike_column
from trainables.core.serving.training_features import TrainingFeatures

MEMBER = "model"
COMBINATION = "combination"  # key of the combination's digest in a model's metadata
_DEEP_IMAGES, _SEGMENTATION = ("opencv-python-headless",), ("scipy", "segmentation-models-pytorch")
# Packages that read files of the extra `medical`.
_DICOM, _NIFTI = ("pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm"), ("nibabel",)
# What every model imports to predict. `mlflow-skinny` loads and serves models; MLflow adds all of `mlflow` without it.
_REQUIRED = (
    "filelock",
    "mlflow-skinny",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)


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
        training_features: Features of training images by these members, or None.
    """

    members: Sequence[Sequence[Checkpoint]]
    combination: Combination
    views: str
    metadata: dict[str, Any]
    roi: Path | None = None
    training_features: TrainingFeatures | None = None


def save_model_files(folder: Path, entrant: Entrant) -> dict[str, Any]:
    """Save an ensemble into a new folder, and return the arguments with which ``mlflow.pyfunc`` logs it."""
    save_ensemble(folder, entrant.members, entrant.combination, entrant.views, entrant.roi, entrant.training_features)
    model = entrant.members[0][0]
    task = TASKS[model.config.task]
    outputs = task.output_columns(model.class_names, entrant.combination)
    if model.kind or entrant.training_features:
        outputs |= {unlike_column(model.class_names): "string"}
    if entrant.training_features:
        outputs |= {score_column(model.class_names): "double"}
    # No schema of the inputs: with one, MLflow either refuses lists (of named columns) or drops the column of patients
    # before the model sees it (of a column without a name). The model checks its columns itself.
    signature = ModelSignature(
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        params=_params(task, entrant.combination),
    )
    return {
        "loader_module": "trainables.core.serving.ensemble",
        "data_path": str(folder),
        "code_paths": [str(Path(trainables.__file__).parent)],
        "signature": signature,
        "pip_requirements": _requirements(stored_configs(folder), model.pixel_format),
    }


def _params(task: type[TaskResults], combination: Combination) -> ParamSchema | None:
    patients = [ParamSpec(PATIENTS, "string", [], (-1,))] if task.has_patients else []
    sets = [ParamSpec(WITH_SETS, "boolean", False)] if combination.sets else []
    return ParamSchema([*patients, *sets]) if patients or sets else None


def _requirements(configs: Sequence[TrainConfig], pixel_format: PixelFormat) -> list[str]:
    """Return the installed versions as the package index names them: without a local part such as ``+cu130``."""
    segmentations = [config for config in configs if isinstance(config, SegmentationConfig)]
    packages = [
        *_REQUIRED,
        *(_SEGMENTATION if segmentations else ()),
        *(["transformers"] if any(config.architecture == DETR for config in segmentations) else []),
    ]
    packages += _DEEP_IMAGES if pixel_format.is_deep else ()
    packages += filter(_is_installed, _DICOM) if pixel_format.dicom else ()
    packages += _NIFTI if pixel_format.slicing else ()
    return [f"{package}=={importlib.metadata.version(package).partition('+')[0]}" for package in packages]


def _is_installed(package: str) -> bool:
    """Return True for a package that this environment has: not every pixel decoder of DICOM runs everywhere."""
    return bool(list(importlib.metadata.distributions(name=package)))


def log_member(
    tracking_uri: str,
    run_id: str,
    report: EpochRecord,
    entrant: Entrant,
) -> None:
    """Make a trial's model loadable as ``runs:/RUN_ID/model``; repeating it changes nothing.

    A model with other thresholds, views or metadata, except for notes, is replaced under its ID. The run's status stays
    as it is.

    Args:
        tracking_uri: URI of MLflow.
        run_id: Run of the trial.
        report: Report of the best epoch, whose metrics the model gets.
        entrant: Checkpoints of that epoch as an ensemble of its own.

    Raises:
        MlflowException: The run is deleted, or MLflow does not work.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    metadata = {**entrant.metadata, "views": entrant.views, COMBINATION: entrant.combination.digest}
    model = _begin_member(client, run_id, report)
    if str(model.status) == "READY":
        if _settings(_stored_metadata(model)) == _settings(metadata):
            return
        client.finalize_logged_model(model.model_id, "FAILED")  # a driver that is killed here leaves it unfinished
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), unchecked_requirements():
        warnings.filterwarnings("ignore", "[^A]*An input example was not provided")  # running one takes seconds
        ids = {"run_id": run_id, "model_uuid": model.model_id, "model_id": model.model_id}
        description = Model(**ids, metadata=metadata)
        files = save_model_files(Path(folder) / "ensemble", entrant)
        mlflow.pyfunc.save_model(str(Path(folder) / MEMBER), mlflow_model=description, **files)
        client.log_model_artifacts(model.model_id, str(Path(folder) / MEMBER))
    client.finalize_logged_model(model.model_id, "READY")


def _stored_metadata(model: LoggedModel) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] | None = get_model_info(f"models:/{model.model_id}").metadata
    except (MlflowException, OSError):  # its files are gone
        return {}
    return metadata or {}


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != "notes"}


def _begin_member(client: MlflowClient, run_id: str, report: EpochRecord) -> LoggedModel:
    """Return the run's LoggedModel: one that an earlier driver began, else a new one.

    An unfinished model keeps its id: with two models of one name, MLflow might load either.

    Raises:
        MlflowException: The run is deleted. MLflow itself only refuses that after it has created a model.
    """
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise MlflowException.invalid_parameter_value(f"the run {run_id} is deleted")
    experiment_id = run.info.experiment_id
    models = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND name = '{MEMBER}'")
    model = next(iter(models), None) or client.create_logged_model(experiment_id, MEMBER, run_id)
    if str(model.status) != "READY":
        if model.model_id not in {output.model_id for output in (run.outputs.model_outputs if run.outputs else [])}:
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=report.epoch)])
        ids = {"model_id": model.model_id, "run_id": run_id}
        metrics = [Metric(name, value, report.time_ms, report.epoch, **ids) for name, value in report.metrics.items()]
        client.log_batch(run_id, metrics)
    return model


@contextmanager
def fetched_model(tracking_uri: str, model: str) -> Iterator[Path]:
    """Download a model's files, without running its code, into a folder that exists for the block.

    Args:
        tracking_uri: URI of MLflow, which must answer.
        model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/NAME``.

    Raises:
        UserError: The model or its files do not exist.
    """
    mlflow.set_tracking_uri(tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = mlflow.artifacts.download_artifacts(artifact_uri=model, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise UserError(f"MODEL must be in MLflow, but {model} is not: {first_line(error)}") from error
        yield Path(place)
