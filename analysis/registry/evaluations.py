"""External evaluations of registered models in MLflow: their runs, and the list on the model version's page."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, Metric, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.serialization import from_json, to_json
from analysis.registry.markdown import plain, table
from analysis.registry.model_files import COMBINATION
from analysis.registry.pages import write_page
from analysis.registry.promotions import CHAMPION, show_champion
from trainables.core.serving.combining.combine import Combination

_MODEL, _DIGEST = "tune.evaluated_model", "tune.evaluated_digest"
_DATA, _IMAGES = "tune.evaluated_data", "tune.evaluated_images"  # the latter whatever their labels
_PLACE, _SUMMARY = "tune.evaluated_place", "tune.evaluation_summary"
_INTERNAL = "evaluation-of-version-{}.json"
_HEADING = "\n\n### External evaluations\n\n"


@dataclass(frozen=True)
class Origin:
    """Facts about a model in MLflow.

    Attributes:
        metadata: Metadata that the search stored with the model.
        run_id: Run that logged it, or None.
        model_id: ID of the logged model, or None.
        name: Name of the registered model, or None.
        version: Registered version, or None.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    model_id: str | None = None
    name: str | None = None
    version: str | None = None


def model_origin(tracking_uri: str | None, model: str, folder: Path) -> Origin:
    """Return what the files of a model, and MLflow if there is one, say about its origin.

    Args:
        tracking_uri: URI of MLflow; None for a model in a folder.
        model: Model URI or folder.
        folder: Folder of the ensemble, which MLflow stores two levels below its own file.
    """
    name = version = None
    if tracking_uri is not None and model.startswith("models:/"):
        name, version = _version(MlflowClient(tracking_uri), model)
    try:
        stored = Model.load(str(folder.parents[1]))
    except (MlflowException, OSError, IndexError):
        return Origin(name=name, version=version)
    return Origin(stored.metadata or {}, stored.run_id, stored.model_id, name, version)


def _version(client: MlflowClient, model: str) -> tuple[str, str | None]:
    """Return the name and version in ``models:/NAME/3`` or ``models:/NAME@alias``."""
    name, _, rest = model.removeprefix("models:/").partition("/")
    if rest:
        return name, rest
    name, _, alias = name.partition("@")
    return name, str(client.get_model_version_by_alias(name, alias).version) if alias else None


def internal_evaluation(tracking_uri: str, origin: Origin) -> Evaluation | None:
    """Return a model's scores on the internal test set, which the run of its search stores; None without any.

    The run has the scores of each version that was registered with scores. Earlier releases only stored those of the
    ensemble that the search chose last, which are returned for a model of the same trials, rule, and views.
    """
    mlflow.set_tracking_uri(tracking_uri)
    of_version = _json(origin.run_id, _INTERNAL.format(origin.version))
    if of_version is None and _is_chosen(_json(origin.run_id, "ensemble.json") or {}, origin.metadata):
        of_version = _json(origin.run_id, "evaluation.json")
    return None if of_version is None else from_json(of_version, Evaluation)


def log_internal_evaluation(tracking_uri: str, run_id: str, version: str, evaluation: Evaluation) -> None:
    """Log the internal test scores of a registered version, which a later ensemble of its search leaves unchanged."""
    text = json.dumps(to_json(evaluation), indent=1)
    MlflowClient(tracking_uri).log_text(run_id, text, _INTERNAL.format(version))


def stored_evaluation(tracking_uri: str, run_id: str) -> dict[str, Any] | None:
    """Return the result of an external evaluation that a run holds; None if it holds none."""
    mlflow.set_tracking_uri(tracking_uri)
    found = _json(run_id, "evaluation.json") or {}
    return found if "digest" in found else None


def _is_chosen(ensemble: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Return True if the ensemble that a run describes is the model with this metadata."""
    voters = [member["trial"] for member in ensemble.get("members", ()) if member["weight"] > 0]
    stored = ensemble.get("rule"), ensemble.get("views"), voters
    if stored != (metadata.get("rule"), metadata.get("views"), metadata.get("trials")):
        return False
    digest = metadata.get(COMBINATION)  # models of earlier versions have none
    return digest is None or digest == from_json(ensemble["comparison"]["combination"], Combination).digest


def _json(run_id: str | None, file: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{file}")))
    except (MlflowException, OSError, ValueError):  # there is no such file
        return None


def count_evaluations(tracking_uri: str, experiment_id: str, digest: str, fingerprint: str, images: str) -> int:
    """Count the evaluations of a model on the same images, whatever their labels, in the runs of an experiment.

    Deleted runs count as well, because their results were seen. Runs of earlier versions only have the fingerprint of
    the images with their labels.
    """
    client, found = MlflowClient(tracking_uri), set[str]()
    for tag, value in ((_DATA, fingerprint), (_IMAGES, images)):
        condition = f"tags.`{_DIGEST}` = '{digest}' AND tags.`{tag}` = '{value}'"
        found |= {run.info.run_id for run in client.search_runs([experiment_id], condition, ViewType.ALL)}
    return len(found)


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation to log.

    Attributes:
        model: Model URI or folder, for people.
        digest: SHA-256 of the model's files.
        fingerprint: SHA-256 of the data.
        images: SHA-256 of the images, whatever their labels.
        place: Place of the data.
        summary: The main result in one line.
        metrics: Metrics of the run.
        files: Text files of the run by name.
    """

    model: str
    digest: str
    fingerprint: str
    images: str
    place: str
    summary: str
    metrics: Mapping[str, float]
    files: Mapping[str, str]


def log_evaluation(tracking_uri: str, experiment_id: str, origin: Origin, record: EvaluationRecord) -> str:
    """Log an evaluation as a run linked to its model, and list it on the page of the model's version.

    Returns:
        ID of the run.
    """
    client = MlflowClient(tracking_uri)
    tags = {
        MLFLOW_RUN_NAME: f"evaluation of {record.model}",
        _MODEL: record.model,
        _DIGEST: record.digest,
        _DATA: record.fingerprint,
        _IMAGES: record.images,
        _PLACE: record.place,
        _SUMMARY: record.summary,
    }
    run_id: str = client.create_run(experiment_id, tags=tags).info.run_id
    now = round(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in record.metrics.items()])
    for name, text in record.files.items():
        client.log_text(run_id, text, name)
    if origin.model_id is not None:
        client.log_inputs(run_id, models=[LoggedModelInput(origin.model_id)])
    client.set_terminated(run_id)
    if origin.name is not None and origin.version is not None:
        _list_on_page(client, experiment_id, origin.name, origin.version, record.digest)
    return run_id


def _list_on_page(client: MlflowClient, experiment_id: str, name: str, version: str, digest: str) -> None:
    """Write the list of all evaluations, the last one first, to the end of the version's page.

    The champion's page is also the model's.
    """
    condition, newest_first = f"tags.`{_DIGEST}` = '{digest}'", ["attributes.start_time DESC"]
    runs = client.search_runs([experiment_id], condition, order_by=newest_first)
    registered = client.get_model_version(name, version)
    listed = table(("evaluated", "data", "result", "run"), [_row(experiment_id, run) for run in runs])
    page = write_page(client, registered, (registered.description or "").partition(_HEADING)[0], _HEADING + listed)
    if str(client.get_registered_model(name).aliases.get(CHAMPION)) == version:
        show_champion(client, name, page)
    client.set_model_version_tag(name, version, "external_evaluations", str(len(runs)))


def _row(experiment_id: str, run: Run) -> tuple[str, ...]:
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(run.info.start_time / 1000))
    link = f"[{run.info.run_id}](#/experiments/{experiment_id}/runs/{run.info.run_id})"
    return day, plain(run.data.tags[_PLACE]), plain(run.data.tags[_SUMMARY]), link
