"""What is checked and noted before a search begins: weights, images, room, and what the search is about."""

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.markup import escape

from trainables.core.data.augment import source_size
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.image_mask_pairs import open_pairs
from trainables.core.data.splits.audit import summary
from trainables.core.data.splits.folds import describe_sizes, small_division
from trainables.core.errors import DataError
from trainables.core.metric_names import LATENCY
from trainables.core.models.backbones.backbone import build_backbone, check_weights, parameter_count
from trainables.core.models.backbones.registry import count_features
from trainables.core.models.networks.segmenter import check_segmenter, fetch_weights, segmenter_parameter_count
from trainables.core.redact import without_credentials
from trainables.core.training.classification_metrics import check_objective
from trainables.core.training.segmentation_metrics import check_mask_objective
from tuning.search.data_request import DataRequest
from tuning.search.plan import Plan
from tuning.study.attributes import search_uid
from tuning.study.opening_ledger import split_fingerprint
from tuning.tracking.runs import SearchInfo


def check_backbones(plan: Plan, segmenters: Sequence[tuple[str, str]], console: Console) -> None:
    """Fetches or checks every backbone's weights, before hours of training depend on them.

    Args:
        plan: Of the search.
        segmenters: Its architectures and encoders; to check one takes 0.1 to 0.3 s.
        console: For how far it is.

    Raises:
        WeightsError, ConfigError: A backbone is unknown, or its weights are not there.
    """
    for architecture, backbone in segmenters:
        check_segmenter(architecture, backbone, plan.weights, plan.image_size)
    for backbone in plan.backbones:
        if plan.weights == "pretrained":
            with console.status(f"fetching the weights of {escape(backbone)}"):
                if plan.space.task == "segmentation":
                    fetch_weights(backbone, plan.image_size)
                else:
                    build_backbone(backbone, plan.weights, plan.image_size)
        elif plan.space.task == "classification":
            check_weights(backbone, plan.weights)
            count_features(backbone, plan.image_size)


def checkpoint_bytes(plan: Plan, segmenters: Sequence[tuple[str, str]]) -> int:
    """About what the largest checkpoint holds: float32 parameters and Adam's two moments of each, or a model a fold."""
    counts = [segmenter_parameter_count(*segmenter) for segmenter in segmenters] or map(parameter_count, plan.backbones)
    return (plan.folds or 3) * 4 * max(counts)


def load_data(
    request: DataRequest, plan: Plan, policies: set[str], cache_size: int | None, console: Console
) -> Dataset:
    """Opens, checks, decodes, audits and divides the images, and prints what there is.

    Args:
        request: What they are prepared from.
        plan: Says how large images are needed, and the objective.
        policies: The augmentations that the search may choose.
        cache_size: Bytes that a node's store may hold; None for its default.
        console: To print to.

    Raises:
        DataError, StoreFullError: The images, or the objective on them, cannot be.
    """
    place = request.place
    if Path(place).is_dir():  # what is elsewhere shows its layout once it is here
        _check_task(plan, place, masks=open_pairs(Path(place)) is not None)
    sizes = sorted({plan.image_size, *(source_size(policy, plan.image_size) for policy in policies)})
    with console.status(f"reading {escape(place)}") as status:
        data = request.prepare(
            sizes=sizes,
            cache_size=cache_size,
            progress=lambda share: status.update(f"comparing the images of {escape(place)}: {share:.0%}"),
            regions_progress=lambda share: status.update(f"finding regions in {escape(place)}: {share:.0%} of images"),
        )
    _check_task(plan, place, masks=data.mask_format is not None)
    compared = data.labels[data.folds[0] if data.folds else data.splits["tune"]]  # the first figures are of these
    for metric in plan.objective.names:
        if metric == LATENCY:
            continue
        if data.mask_format:
            check_mask_objective(metric, data.class_names)
        else:
            check_objective(metric, compared, data.class_names, data.healthy)
    counts = ", ".join(f"{len(indices)} {name}" for name, indices in data.splits.items())
    assert data.audit is not None
    folds = f"; {describe_sizes(data.folds)}" if data.folds else ""
    for line in (f"data {place}: {counts} ({request.split} split){folds}", *summary(data.audit)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    one_division = not data.folds and not data.mask_format
    few = small_division(data.labels, data.groups, data.splits, data.class_names) if one_division else ""
    for note in (*data.notes, *([few] if few else [])):
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return data


def _check_task(plan: Plan, place: str, *, masks: bool) -> None:
    has = "segmentation" if masks else "classification"
    if plan.space.task != has:
        layout = {
            "segmentation": "folders images/ and masks/, or Oxford-IIIT Pet",
            "classification": "class folders, or parquet",
        }
        wanted = f"space {plan.space.name} is a {plan.space.task}, whose data are {layout[plan.space.task]}"
        raise DataError(f"{wanted}, but {place} holds those of a {has}")


def identity(plan: Plan, data: Dataset, rehearsed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What must not change when a search is resumed; what ``plan`` suggests tells apart spaces of one name."""
    return {
        "space": plan.space.name,
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
        "configurations": hashlib.sha256(json.dumps(rehearsed).encode()).hexdigest()[:16],
    }


def search_info(study: optuna.Study, data: Dataset, about: dict[str, Any]) -> SearchInfo:
    """What MLflow is told of a search: ``about`` as params; where, from what and with what it was run as tags."""
    packages = ("ray", "torch", "torchvision", "timm", "optuna", "mlflow", "albumentations", "scikit-learn")
    environment = {f"env.{package}": version(package) for package in packages}
    return SearchInfo(
        experiment=about["space"],
        name=study.study_name,
        uid=search_uid(study),
        params={**about, "data": data.place},
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
    except OSError:  # there is no git
        return "unknown"
    return done.stdout.strip() or "unknown"
