"""One driver's session on a search, from options to an exit code."""

import json
import math
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from ray.exceptions import RayError
from ray.tune import TuneError
from rich.console import Console

from analysis.trials import pareto_front, read_trials
from search_spaces.space import SearchSpace
from trainables.core.credentials import without_credentials
from trainables.core.data.cache import Dataset
from trainables.core.data.groups import Grouping
from trainables.core.errors import UserError, first_line
from trainables.core.models.predict import VIEWS
from trainables.core.store import parse_size
from trainables.inference import examine, infer
from tuning.cards import card_class
from tuning.cluster import Capacity, GpuHours, Resources, joined, trial_resources
from tuning.ensemble import Request, Result, find_ensemble
from tuning.fetch import keep_segmentation
from tuning.folder import (
    SearchFolder,
    check_identity,
    find_folder,
    mark_finished,
    next_session,
    note_data,
    note_ensemble,
)
from tuning.kept import keeping
from tuning.nodes import check_nodes
from tuning.preflight import check_backbones, checkpoint_bytes, identity, load_data, search_info
from tuning.progress import Progress
from tuning.publish import publish, told
from tuning.report import report_at_end
from tuning.search import Plan, build_tuner
from tuning.study import ALIKE, Steering, told_error
from tuning.tables import show, show_front
from tuning.tracking import Tracker, check_server, tracking_uri

optuna.logging.set_verbosity(optuna.logging.WARNING)

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
HANG_S = 3600.0
_REHEARSED = 50
_ERRORS = "driver-error.txt"
_BREAKS = (OSError, StorageInternalError, TuneError)  # a full disk, a database that went away, ...


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
    metric: str | None = None
    second: str | None = None
    pruning: bool = True
    top_k: int | None = None
    tta: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    gpu_memory: float | None = None
    autoscale: int = 0
    price_per_gpu_hour: float | None = None
    max_concurrent: int | None = None
    max_failures: int = 2
    trial_timeout_s: float = HANG_S
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None
    name: str | None = None
    seed: int = 0
    address: str | None = None
    resume: bool = False
    skip_bad_images: bool = False
    cache_size: str | None = None
    report: bool = True
    split: str = "grouped"
    group_threshold: float | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    cv_folds: int | None = None
    roi: str | None = None

    @property
    def members(self) -> int:
        """How many trials the ensemble is built from."""
        return self.top_k or self.space.top_k

    @property
    def views(self) -> str:
        """What a model sees of an image when it is scored."""
        return self.tta or self.space.tta

    def grouping(self) -> Grouping:
        """Which images belong together: as given, else as the space's files are usually named."""
        return Grouping(self.group_threshold, self.group_column, self.group_pattern, self.space.group_pattern)

    def plan(self) -> Plan:
        """The search's plan, the space's defaults filled in."""
        weights = self.weights or self.space.weights
        return Plan(
            space=self.space,
            backbones=self.backbones or self.space.backbones,
            weights=str(Path(weights).resolve()) if Path(weights).is_dir() else weights,
            image_size=self.image_size or self.space.image_size,
            epochs=self.max_epochs or self.space.epochs,
            metric=self.metric or self.space.metric,
            second=self.second,
            pruning=self.pruning,
            seed=self.seed,
            folds=self.cv_folds,
        )


def run(options: Options, console: Console) -> int:
    """Runs a search, or goes on with one.

    Returns:
        0 with at least one finished trial and its ensemble, 1 without, 130 when interrupted.

    Raises:
        UserError: Something the user gave cannot be; nothing was trained, and no search was begun.
    """
    plan = options.plan()
    if options.views not in VIEWS:
        raise UserError(f"tta must be one of {', '.join(VIEWS)}, but {plan.space.name} has {options.views!r}")
    grouping = options.grouping()
    rehearsed = plan.samples(_REHEARSED)  # a branch that does not parse shall not surface after hours
    folder = find_folder(options.storage, options.name or plan.space.name, options.study_storage, options.resume)
    _check_task(options)
    check_backbones(plan, rehearsed, console)
    num_samples = options.num_samples or plan.space.num_samples
    note = folder.check_room(checkpoint_bytes(plan, rehearsed), num_samples)
    if note is not None:
        console.print(f"Note: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
    roi = None
    if options.roi is not None:
        roi = str(keep_segmentation(options.roi, options.tracking_uri, folder.local, console))
    data = load_data(
        options.data or plan.space.data,
        plan,
        policies={config.get("augmentation", "none") for config in rehearsed},
        split=options.split,
        grouping=grouping,
        skip_bad_images=options.skip_bad_images,
        roi=roi,
        cache_size=None if options.cache_size is None else parse_size(options.cache_size),
        console=console,
    )
    about = identity(plan, data, rehearsed)
    uri = tracking_uri(options.tracking_uri)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(check_server, uri)  # makes tables while Ray starts processes
        with joined(options.address) as can_grow:
            answer.result()
            card = None if options.gpu_memory is None else card_class(options.gpu_memory)
            resources = trial_resources(options.cpus_per_trial, options.gpus_per_trial, can_grow, card)
            check_nodes(folder.root, [place for place in (data.place, plan.weights) if Path(place).is_dir()])
            with folder.take(plan.metric, plan.steps, plan.seed, plan.pruning, plan.second) as study:
                steering = Steering(
                    study=study,
                    metric=plan.metric,
                    second=plan.second,
                    epochs=plan.steps,
                    num_samples=num_samples,
                    max_concurrent=options.max_concurrent or options.autoscale or None,
                    deadline=time.time() + options.time_budget_s,
                    configure=plan.configure,
                    storage=folder.checkpoints,
                    capacity=Capacity(resources, options.autoscale),
                    unit="fold" if plan.folds else "epoch",
                )
                try:
                    check_identity(study, {**about, "tracking-uri": without_credentials(uri)})
                    asked = {"seed": plan.seed, "split": options.split, "skip_bad_images": options.skip_bad_images}
                    asked |= {
                        "place": data.place,
                        "grouping": asdict(grouping),
                        "folds": plan.folds,
                        "test_share": plan.space.test_share,
                        "roi": roi,
                    }
                    note_data(study, asked | {"healthy": plan.space.healthy})
                    note_ensemble(study, options.members, options.views)
                    for recipe in plan.space.recipe_params(plan.backbones):
                        study.enqueue_trial(recipe, skip_if_exists=True)
                    tracker = Tracker(study, uri, search_info(study, data, {**about, "top-k": options.members}))
                    return _search(options, plan, data, steering, folder, resources, tracker, console)
                except _BREAKS as error:
                    return _break_off(error, folder, console)


def _check_task(options: Options) -> None:
    """Refuses what a segmentation does not have."""
    if options.space.task == "segmentation":
        asked = {"--cv-folds": options.cv_folds, "--tta": options.views != "none", "--roi": options.roi}
        for option, given in asked.items():
            if given:
                raise UserError(f"{option} is for classifications, but {options.space.name} is a segmentation")


def _break_off(error: Exception, folder: SearchFolder, console: Console) -> int:
    (cause,) = without_credentials(str(error)).strip().splitlines()[-1:] or [type(error).__name__]
    with suppress(OSError):
        (folder.local / _ERRORS).write_text(without_credentials("".join(traceback.format_exception(error))))
    broke = f"the search broke off: {cause}; what was reported is kept: mend that and go on with --resume"
    console.print(broke, style="red", markup=False, highlight=False, soft_wrap=True)
    return EXIT_FAILED


def _search(
    options: Options,
    plan: Plan,
    data: Dataset,
    steering: Steering,
    folder: SearchFolder,
    resources: Resources,
    tracker: Tracker,
    console: Console,
) -> int:
    """Runs the trials and builds the ensemble; ends the parent run as the search ended."""
    study, status, version = steering.study, "FAILED", None
    mark_finished(study, False)
    folds = f"{plan.folds} folds of " if plan.folds else "up to "
    console.print(
        f"search {study.study_name}: {steering.num_samples} trials of {folds}{plan.epochs} epochs on {plan.metric}, "
        f"{resources.cpus:g} CPUs and {resources.gpus:g} GPUs a trial",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        with Progress(steering, console, GpuHours(options.price_per_gpu_hour).told) as progress:
            build_tuner(
                steering,
                data,
                resources,
                next_session(study),
                options.max_failures,
                options.trial_timeout_s,
                [progress],
            ).fit()
        console.print(f"the trials took {progress.spent()}", markup=False, highlight=False, soft_wrap=True)
        if not steering.is_complete():
            status = "KILLED"
            return EXIT_INTERRUPTED
        if steering.given_up is not None:
            given_up = f"{ALIKE} trials in a row failed alike, so the search was given up: {steering.given_up}"
            console.print(given_up, style="red", markup=False, highlight=False, soft_wrap=True)
        try:
            with console.status("scoring the best trials"):
                request = Request(plan.metric, options.members, views=options.views, folds=len(data.folds))
                score = partial(infer, data, num_cpus=resources.cpus, num_gpus=resources.gpus, views=options.views)
                kept = keeping(score, study, data, folder.checkpoints, options.views)
                result = find_ensemble(study, data, request, kept, tracker, console)
        except RayError as error:  # a worker died, or its node
            why = told_error(str(error))
            failed = f"the best trials could not be scored ({why}): the same command with --resume tries again"
            console.print(failed, style="red", markup=False, highlight=False, soft_wrap=True)
            return EXIT_FAILED
        if result is None:
            mark_finished(study, True)
            console.print("no trial finished, so there is no ensemble: the lines above say why", style="red")
            return EXIT_FAILED
        show(result, data, console)
        if plan.second is not None:
            _trade_offs(study, (plan.metric, plan.second), tracker, console)
        version = _publish(study, result, plan, data, tracker, console)
        mark_finished(study, version is not None and steering.given_up is None)
        status = "FINISHED" if version else "FAILED"
        if options.report:
            look = partial(examine, data, num_cpus=resources.cpus, num_gpus=resources.gpus)
            report_at_end(study, data, result.openings, look, folder, tracker, console)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.close(status)
        if tracker.unsent:
            unsent = f"MLflow has not got everything ({tracker.unsent}): the same command with --resume sends the rest"
            console.print(unsent, style="yellow", markup=False, soft_wrap=True)
    return EXIT_OK if version else EXIT_FAILED


def _trade_offs(study: optuna.Study, metrics: tuple[str, str], tracker: Tracker, console: Console) -> None:
    """Shows the Pareto front, and leaves it with the parent run."""
    front = pareto_front(read_trials(study), metrics)
    show_front(front, metrics, console)
    told = [
        {"trial": record.number, "device": record.device, **dict(zip(metrics, record.objectives(metrics), strict=True))}
        for record in front
    ]
    with suppress(Exception):  # a server that does not answer is told of by the ensemble, which needs it, too
        tracker.log_parent({}, {"pareto_front.json": json.dumps(told, indent=1)})


def _publish(
    study: optuna.Study, result: Result, plan: Plan, data: Dataset, tracker: Tracker, console: Console
) -> str | None:
    """Registers the ensemble and says where all is; None where MLflow would not take it."""
    try:
        with console.status("registering the ensemble"):
            registered = publish(study, result, data, tracker, plan.space.name)
    except Exception as error:  # whatever a server raises: hours of training must not end in a traceback
        failed = (
            f"the ensemble could not be registered ({first_line(error)}): the same command with --resume tries again"
        )
        console.print(failed, style="red", markup=False, soft_wrap=True)
        return None
    shown = without_credentials(tracker.uri)
    where = f"mlflow ui --backend-store-uri {shown}" if shown.startswith("sqlite:") else shown
    for line in (
        told(registered, plan.space.name),
        f"All runs:   {where}   (experiment {plan.space.name})",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return registered.version
