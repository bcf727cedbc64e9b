"""One driver's session on a search, from options to an exit code."""

import math
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from search_spaces.space import SearchSpace
from trainables.core.data.cache import Dataset, prepare
from trainables.core.metrics import check_objective
from trainables.core.models.backbones import build_backbone, check_weights
from trainables.core.store import default_store
from tuning.cluster import Resources, joined, trial_resources
from tuning.ensemble import Result, finish, show
from tuning.folder import check_identity, find_folder, mark_finished, next_session, search_uid
from tuning.progress import Progress
from tuning.search import Plan, build_tuner
from tuning.study import Steering, open_study
from tuning.tracking import SearchInfo, Tracker, check_server, tracking_uri

optuna.logging.set_verbosity(optuna.logging.WARNING)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Options:
    """What a user asked for; None leaves it to the space or the cluster."""

    space: SearchSpace
    data: str | None = None
    weights: str | None = None
    backbones: tuple[str, ...] = ()
    num_samples: int | None = None
    max_epochs: int | None = None
    image_size: int | None = None
    time_budget_s: float = math.inf
    metric: str = "balanced_accuracy"
    top_k: int = 5
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None
    name: str | None = None
    seed: int = 0
    address: str | None = None
    resume: bool = False
    skip_bad_images: bool = False

    def plan(self) -> Plan:
        """The search's plan, the space's defaults filled in."""
        weights = self.weights or self.space.weights
        return Plan(
            space=self.space,
            backbones=self.backbones or self.space.backbones,
            weights=str(Path(weights).resolve()) if Path(weights).is_dir() else weights,
            image_size=self.image_size or self.space.image_size,
            epochs=self.max_epochs or self.space.epochs,
            metric=self.metric,
            seed=self.seed,
        )


def sample(options: Options, count: int) -> list[dict[str, Any]]:
    """The configurations of the first ``count`` trials: the recipes, then what the space gives at random."""
    plan = options.plan()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=options.seed))
    for recipe in plan.space.recipe_params(plan.backbones):
        study.enqueue_trial(recipe)
    return [plan.configure(study.ask()) for _ in range(count)]


def run(options: Options, console: Console) -> int:
    """Runs a search, or goes on with one.

    Returns:
        0 with at least one finished trial and its ensemble, 1 without, 130 when interrupted.

    Raises:
        UserError: Something the user gave cannot be; nothing was trained, and no search was begun.
    """
    plan = options.plan()
    recipes = plan.space.recipe_params(plan.backbones)
    folder = find_folder(options.storage, options.name or plan.space.name, options.study_storage, options.resume)
    _check_weights(plan, console)
    data = _load_data(options, plan, console)
    check_server(tracking_uri(options.tracking_uri))
    with joined(options.address), folder.take():
        resources = trial_resources(options.cpus_per_trial, options.gpus_per_trial)
        study = open_study(folder.storage(), folder.name, plan.metric, plan.epochs, plan.seed)
        check_identity(study, _identity(plan, data))
        for recipe in recipes:
            study.enqueue_trial(recipe, skip_if_exists=True)
        tracker = Tracker(study, tracking_uri(options.tracking_uri), _info(options, plan, data, folder.name, study))
        steering = Steering(
            study=study,
            metric=plan.metric,
            epochs=plan.epochs,
            num_samples=options.num_samples or plan.space.num_samples,
            max_concurrent=options.max_concurrent,
            deadline=time.time() + options.time_budget_s,
            configure=plan.configure,
            storage=folder.checkpoints,
        )
        console.print(
            f"search {folder.name}: {steering.num_samples} trials of up to {plan.epochs} epochs on {plan.metric}, "
            f"{resources.cpus:g} CPUs and {resources.gpus:g} GPUs a trial",
            highlight=False,
            soft_wrap=True,
        )
        return _conclude(options, plan, data, steering, resources, tracker, console)


def _conclude(
    options: Options,
    plan: Plan,
    data: Dataset,
    steering: Steering,
    resources: Resources,
    tracker: Tracker,
    console: Console,
) -> int:
    """Runs the trials and builds the ensemble; ends the parent run as the search ended."""
    study, result, status = steering.study, None, "FAILED"
    mark_finished(study, False)
    try:
        with Progress(steering, console) as progress:
            build_tuner(steering, data, resources, next_session(study), [progress]).fit()
        if not steering.is_complete():
            status = "KILLED"
            return EXIT_INTERRUPTED
        with console.status("scoring the best trials and registering their ensemble"):
            result = finish(study, data, plan.metric, options.top_k, resources, tracker, plan.space.name)
        status = "FINISHED" if result else "FAILED"
        mark_finished(study, result is not None)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
    if result is None:
        console.print("no trial finished, so there is no ensemble: the lines above say why", style="red")
        return EXIT_FAILED
    _show_end(result, plan, data, tracker, console)
    return EXIT_OK


def _check_weights(plan: Plan, console: Console) -> None:
    for backbone in plan.backbones:
        if plan.weights == "pretrained":
            with console.status(f"fetching the weights of {backbone}"):
                build_backbone(backbone, plan.weights, plan.image_size)
        else:
            check_weights(backbone, plan.weights)


def _load_data(options: Options, plan: Plan, console: Console) -> Dataset:
    place = options.data or plan.space.data
    place = str(Path(place).resolve()) if Path(place).exists() else place
    with console.status(f"reading {place}"):
        data = prepare(
            place,
            default_store(),
            image_size=plan.image_size,
            seed=plan.seed,
            skip_bad_images=options.skip_bad_images,
        )
    check_objective(plan.metric, data.labels[data.splits["tune"]], data.class_names)
    sizes = ", ".join(f"{len(indices)} {name}" for name, indices in data.splits.items())
    console.print(f"data {place}: {sizes}", markup=False, highlight=False, soft_wrap=True)
    for note in data.notes:
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return data


def _identity(plan: Plan, data: Dataset) -> dict[str, Any]:
    """What must not change when a search is resumed."""
    return {
        "space": plan.space.name,
        "data fingerprint": data.fingerprint,
        "metric": plan.metric,
        "max-epochs": plan.epochs,
        "image-size": plan.image_size,
        "weights": plan.weights,
        "backbones": list(plan.backbones),
        "seed": plan.seed,
    }


def _info(options: Options, plan: Plan, data: Dataset, name: str, study: optuna.Study) -> SearchInfo:
    packages = ("ray", "torch", "torchvision", "timm", "optuna", "mlflow", "albumentations", "scikit-learn")
    environment = {f"env.{package}": version(package) for package in packages}
    return SearchInfo(
        experiment=plan.space.name,
        name=name,
        uid=search_uid(study),
        params={**_identity(plan, data), "data": data.place, "top-k": options.top_k},
        tags={
            "tune.space": plan.space.name,
            "tune.data_fingerprint": data.fingerprint,
            "tune.command": shlex.join(["tune-run", *sys.argv[1:]]),
            "tune.notes": "; ".join(data.notes),
            "mlflow.source.git.commit": _git_commit(),
            "env.python": platform.python_version(),
            **environment,
        },
    )


def _git_commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _show_end(result: Result, plan: Plan, data: Dataset, tracker: Tracker, console: Console) -> None:
    show(result, data, plan.metric, console)
    if tracker.unsent:
        console.print(f"MLflow has not got everything ({tracker.unsent}): --resume sends the rest", style="yellow")
    lines = (
        f"Registered: models:/{plan.space.name}@champion (version {result.version})",
        f"All runs:   mlflow ui --backend-store-uri {tracker.uri}   (experiment {plan.space.name})",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
