"""Checks before a search, its identity, and its description for MLflow."""

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.markup import escape

from trainables.core.config import TrainConfig
from trainables.core.data.audited_dataset import reading_notes
from trainables.core.data.augment.policies import source_size
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.folders.image_mask_pairs import open_pairs
from trainables.core.data.readers.open_source import checked_place
from trainables.core.data.source import Source
from trainables.core.data.splits.audit import summary
from trainables.core.data.splits.folds import describe_sizes
from trainables.core.errors import DataError
from trainables.core.metric_names import LATENCY, PATIENT
from trainables.core.redact import without_credentials
from tuning.console import say, say_notes
from tuning.search.options import SearchOptions
from tuning.search.plan import Plan
from tuning.search.space_contents import space_contents
from tuning.search.tasks import TASKS
from tuning.study.attributes import search_uid
from tuning.study.data_request import DataRequest
from tuning.study.identity import HEALTHY, IMAGES, PATIENTS, SPACE
from tuning.study.opening_ledger import split_fingerprint
from tuning.tracking.runs import SearchInfo


def checkpoint_bytes(plan: Plan, parameters: int, configs: Sequence[dict[str, Any]]) -> int:
    """Estimate the size of the largest checkpoint.

    It holds the float32 parameters, two moments of Adam for each, and their average with ``ema_decay``. If trials are
    cross-validated, it holds one model per fold and nothing else.

    Args:
        plan: Settings of all trials.
        parameters: Number of parameters of the largest network.
        configs: Configurations as the search may choose them.
    """
    averaged = any(config.get("ema_decay") for config in configs)
    return (plan.folds or 3 + averaged) * 4 * parameters


def check_plan(plan: Plan) -> int:
    """Check the networks and the metrics of a search without data and without fetching weights.

    Returns:
        Number of parameters of the largest network.

    Raises:
        UserError: A network or a metric is unknown.
    """
    task = TASKS[plan.space.task]
    for metric in plan.objective.names:
        if metric != LATENCY:
            task.check_metric_name(metric)
    return task.check_networks(plan)


def check_devices(configs: Sequence[dict[str, Any]], gpus: float | None) -> None:
    """Check that GPUs that train a trial together can share the batches of these configurations.

    Args:
        configs: Configurations as the search may choose them.
        gpus: GPUs per trial; None for the default, which is at most one.

    Raises:
        ConfigError: They cannot.
    """
    for config in configs:
        TrainConfig.from_dict(config).for_devices(max(1, int(gpus or 1)))


def one_per_network(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each backbone and architecture, the configuration that needs the most memory.

    That is the one with the fewest frozen parts, then the largest batch, then no LoRA. They lack ``head_epochs``: the
    epochs that train only the head need less memory than the others.
    """
    whole = [{key: value for key, value in config.items() if key != "head_epochs"} for config in configs]
    parsed = [(TrainConfig.from_dict(config), config) for config in whole]
    parsed.sort(key=lambda each: (len(each[0].frozen), -each[0].batch_size, each[1].get("lora_rank", 0)))
    first: dict[tuple[str, str | None], dict[str, Any]] = {}
    for _, config in parsed:
        first.setdefault((config["backbone"], config.get("architecture")), config)
    return list(first.values())


def find_data(options: SearchOptions, request: DataRequest) -> DataRequest:
    """Check that there is a data set at the request's place, and return the request with the version of a hub data set.

    Raises:
        DataError: There is none.
    """
    try:
        return replace(request, place=checked_place(request.place))
    except DataError as error:
        if options.data is not None:
            raise
        own = f"{request.place!r} is the default of {options.space.name}: pass your own data with --data"
        raise DataError(f"{error}; {own}") from error


def fetch_weights(plan: Plan, console: Console) -> None:
    """Fetch the pretrained weights of every backbone, or raise WeightsError."""
    if plan.weights == "pretrained":
        for backbone in plan.backbones:
            with console.status(f"fetching the weights of {escape(backbone)}"):
                TASKS[plan.space.task].fetch_weights(backbone, plan.image_size)


def load_data(
    request: DataRequest, plan: Plan, configs: Sequence[dict[str, Any]], cache_size: int | None, console: Console
) -> Dataset:
    """Open, check, decode, audit and divide the images, and print a summary.

    Weights are fetched once the data set is open and described, because they may be hundreds of MB.

    Args:
        request: Arguments that decide the splits.
        plan: Image size, folds and objective of the search.
        configs: Configurations as the search may choose them.
        cache_size: Maximum bytes of a node's cache; None for its default.
        console: Console for progress and the summary.

    Raises:
        UserError: The images or the weights cannot be used, or the objective or a configuration does not suit them.
    """
    task, place = TASKS[plan.space.task], request.place
    if Path(place).is_dir():  # the layout of remote data is only known once it has been fetched
        has_masks = request.table is None and open_pairs(Path(place)) is not None
        _check_layout(plan, place, task.has_masks == has_masks, "masks" if has_masks else "no masks")
    policies = {config.get("augmentation", "none") for config in configs}
    sizes = sorted({plan.image_size, *(source_size(policy, plan.image_size) for policy in policies)})
    shown: list[str] = []

    def describe(source: Source) -> None:
        say(console, f"{place}: {source.describe()}")
        shown.extend(reading_notes(source))
        say_notes(console, shown)
        fetch_weights(plan, console)

    with console.status(f"reading {escape(place)}") as status:
        data = request.prepare(
            sizes=sizes,
            cache_size=cache_size,
            on_open=describe,
            progress=lambda share: status.update(f"comparing the images of {escape(place)}: {share:.0%}"),
            regions_progress=lambda share: status.update(f"finding regions in {escape(place)}: {share:.0%} of images"),
        )
    _check_layout(plan, place, data.task == task.name, TASKS[data.task].contents)
    task.check_configs(configs, data)
    for metric in plan.objective.names:
        if metric != LATENCY:
            task.check_metric(metric, data)
    counts = ", ".join(f"{len(indices)} {name}" for name, indices in data.splits.items())
    folds = f"; {describe_sizes(data.folds)}" if data.folds else ""
    assert data.audit is not None
    for line in (f"data {place}: {counts} ({request.split} split){folds}", *summary(data.audit)):
        say(console, line)
    say_notes(console, [note for note in data.notes if note not in shown])
    return data


def _check_layout(plan: Plan, place: str, fits: bool, found: str) -> None:
    task = TASKS[plan.space.task]
    if not fits:
        raise DataError(f"space {plan.space.name} is a {task.name} and needs {task.layouts}, but {place} has {found}")


def identity(plan: Plan, data: Dataset) -> dict[str, Any]:
    """Return the settings that must not change when a search is resumed.

    The contents of a space distinguish it from others of the same name.
    """
    return {
        "space": plan.space.name,
        IMAGES: data.count_classes(),
        "data fingerprint": data.fingerprint,
        "metric": plan.objective.metric,
        "second metric": plan.objective.second,
        "max-epochs": plan.epochs,
        "image-size": plan.image_size,
        "weights": plan.weights,
        "backbones": list(plan.backbones),
        "seed": plan.seed,
        "cv-folds": plan.folds,
        **{f"{name} fingerprint": split_fingerprint(data, name) for name in data.splits},
        "pruning": plan.pruning,
        "roi": data.regions.digest if data.regions else None,
        HEALTHY: data.healthy,
        PATIENTS: _patient_fingerprint(data) if plan.objective.metric.startswith(PATIENT) else None,
        "window": data.pixel_format.window and list(data.pixel_format.window),
        SPACE: space_contents(plan.space, plan.backbones),
    }


def _patient_fingerprint(data: Dataset) -> str:
    """Return the SHA-256 of which images show the same patient. Their splits may be equal with other patients."""
    assert data.patients is not None
    return hashlib.sha256(data.patients.astype("<i8").tobytes()).hexdigest()


def search_info(study: optuna.Study, data: Dataset, about: dict[str, Any]) -> SearchInfo:
    """Describe a search for MLflow: ``about`` as params; its data, command, commit and package versions as tags."""
    packages = ("ray", "torch", "torchvision", "timm", "optuna", "mlflow", "albumentations", "scikit-learn")
    environment = {f"env.{package}": version(package) for package in packages}
    return SearchInfo(
        experiment=about["space"],
        name=study.study_name,
        uid=search_uid(study),
        params={name: value for name, value in about.items() if name != SPACE} | {"data": data.place},
        tags={
            "tune.space": about["space"],
            "tune.data_fingerprint": data.fingerprint,
            "tune.command": shlex.join(["tune-run", *map(without_credentials, sys.argv[1:])]),
            "tune.notes": "; ".join(data.notes),
            "mlflow.source.git.commit": _git_commit(),
            "env.python": platform.python_version(),
            **environment,
        },
    )


def _git_commit() -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:  # git is not installed
        return "unknown"
    return done.stdout.strip() or "unknown"
