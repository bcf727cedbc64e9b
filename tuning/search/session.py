"""One driver's session on a search, from options to an exit code."""

import json
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from rich.console import Console

from analysis.ensembles.result import EnsembleResult
from analysis.trials import pareto_front, read_trials
from trainables.core.data.dataset import Dataset
from trainables.core.errors import first_line
from trainables.core.node_cache import parse_size
from trainables.core.redact import without_credentials
from trainables.worker.inference import examine, infer
from trainables.worker.node_requirements import NodeRequirements
from tuning.ensemble.build import find_ensemble
from tuning.ensemble.console_tables import show, show_front
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.publish import publish
from tuning.ensemble.saved_predictions import saving_predictions
from tuning.ray_backend.callbacks.gpu_hours import GpuHours
from tuning.ray_backend.callbacks.progress import Progress
from tuning.ray_backend.callbacks.stalled_search import StalledSearch
from tuning.ray_backend.cluster import joined
from tuning.ray_backend.gpu_classes import gpu_class_for
from tuning.ray_backend.node_checks import node_requirements, unshared_folders
from tuning.ray_backend.ray_errors import RayError, TuneError
from tuning.ray_backend.reports import error_line
from tuning.ray_backend.resources import Capacity, Resources, trial_resources
from tuning.ray_backend.tuner import TrialPolicy, build_tuner
from tuning.report.make_report import ReportSource, report_at_end
from tuning.search.options import Options
from tuning.search.plan import Plan
from tuning.search.preflight import check_backbones, checkpoint_bytes, identity, load_data, search_info
from tuning.search.roi import fetch_segmentation, keep_segmentation
from tuning.study.attributes import (
    check_identity,
    mark_finished,
    next_session,
    save_data_request,
    save_ensemble_request,
)
from tuning.study.repeated_failures import REPEATS
from tuning.study.search_folder import SearchFolder, find_folder
from tuning.study.steering import Steering
from tuning.tracking.outbox import Tracker
from tuning.tracking.server import check_server, tracking_uri

optuna.logging.set_verbosity(optuna.logging.WARNING)

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_REHEARSED = 50
_ERRORS = "driver-error.txt"
_BREAKS = (OSError, StorageInternalError, TuneError)  # a full disk, a database that went away, ...


def run(options: Options, console: Console) -> int:
    """Runs a search, or goes on with one.

    Returns:
        0 with at least one finished trial and its ensemble, 1 without, 130 when interrupted.

    Raises:
        UserError: Something the user gave cannot be; nothing was trained.
    """
    options.check()
    plan, request = options.plan(), options.data_request()
    rehearsed = plan.samples(_REHEARSED)  # a branch that does not parse shall not surface after hours
    folder = find_folder(options.storage, options.name or plan.space.name, options.study_storage, options.resume)
    segmenters = plan.segmenters(_REHEARSED)
    check_backbones(plan, segmenters, console)
    num_samples = options.num_samples or plan.space.num_samples
    note = folder.check_disk_space(checkpoint_bytes(plan, segmenters), num_samples)
    if note is not None:
        _say(console, f"Note: {note}.", "yellow")
    with ExitStack() as stack:
        if options.roi is not None:
            roi = fetch_segmentation(options.roi, options.tracking_uri, stack, console)
            request = replace(request, roi=str(roi))
        policies = {config.get("augmentation", "none") for config in rehearsed}
        cache_size = None if options.cache_size is None else parse_size(options.cache_size)
        data = load_data(request, plan, policies, cache_size, console)
        about = identity(plan, data, rehearsed)
        uri = tracking_uri(options.tracking_uri)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        answer = pool.submit(check_server, uri)  # makes tables while Ray starts processes
        can_grow = stack.enter_context(joined(options.address))
        answer.result()
        card = None if options.gpu_memory is None else gpu_class_for(options.gpu_memory)
        resources = trial_resources(options.cpus_per_trial, options.gpus_per_trial, can_grow, card)
        places = [place for place in (data.place, plan.weights) if "://" in place or Path(place).is_dir()]
        unseen = unshared_folders([*places, folder.root]) if can_grow else []
        if unseen:
            _say(console, f"Note: nodes that join must share {', '.join(unseen)} with this one.", "yellow")
        demands = stack.enter_context(node_requirements(folder.root, places)) if can_grow else None
        study = stack.enter_context(folder.open(plan.objective, plan.steps, plan.seed, plan.pruning))
        steering = Steering(
            study=study,
            objective=plan.objective,
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
            if data.regions is not None:
                regions = keep_segmentation(data.regions, folder.local)
                data, request = replace(data, regions=regions), replace(request, roi=str(regions.model))
            save_data_request(study, request)
            save_ensemble_request(study, options.members, options.views)
            for recipe in plan.space.recipe_params(plan.backbones):
                study.enqueue_trial(recipe, skip_if_exists=True)
            tracker = Tracker(study, uri, search_info(study, data, {**about, "top-k": options.members}))
            return _Session(options, plan, data, steering, folder, resources, demands, tracker, console).run()
        except _BREAKS as error:
            return _break_off(error, folder, console)


def _break_off(error: Exception, folder: SearchFolder, console: Console) -> int:
    (cause,) = without_credentials(str(error)).strip().splitlines()[-1:] or [type(error).__name__]
    with suppress(OSError):
        (folder.local / _ERRORS).write_text(without_credentials("".join(traceback.format_exception(error))))
    _say(console, f"the search broke off: {cause}; what was reported is kept: mend that and go on with --resume", "red")
    return EXIT_FAILED


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Session:
    """What a driver works with once everything is checked."""

    options: Options
    plan: Plan
    data: Dataset
    steering: Steering
    folder: SearchFolder
    resources: Resources
    demands: NodeRequirements | None
    tracker: Tracker
    console: Console

    def run(self) -> int:
        """Runs the trials and builds the ensemble; ends the parent run as the search ended."""
        status = "FAILED"
        mark_finished(self.steering.study, False)
        try:
            self._train()
            if not self.steering.is_complete():
                status = "KILLED"
                return EXIT_INTERRUPTED
            if self._end():
                status = "FINISHED"
                return EXIT_OK
            return EXIT_FAILED
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.tracker.close(status)
            if self.tracker.unsent:
                unsent = f"MLflow has not got everything ({self.tracker.unsent})"
                self._say(f"{unsent}: the same command with --resume sends the rest", "yellow")

    def _train(self) -> None:
        """Runs the trials that are left."""
        options, plan, steering, resources = self.options, self.plan, self.steering, self.resources
        folds = f"{plan.folds} folds of " if plan.folds else "up to "
        self._say(
            f"search {steering.study.study_name}: {steering.num_samples} trials of {folds}{plan.epochs} epochs on "
            f"{plan.objective.metric}, {resources.cpus:g} CPUs and {resources.gpus:g} GPUs a trial"
        )
        session = next_session(steering.study)
        cost = GpuHours(steering.study, options.price_per_gpu_hour)
        waiting = StalledSearch(steering, resources, self.console)
        with Progress(steering, self.console, cost.describe) as progress:
            callbacks = [progress, cost, waiting]
            policy = TrialPolicy(resources, options.max_failures, options.trial_timeout_s, self.demands)
            build_tuner(steering, self.data, policy, session, callbacks, waiting).fit()
        self._say(f"the trials took {progress.spent()}")
        if steering.given_up is not None:
            why = f"{REPEATS} trials in a row failed alike, so the search was given up: {steering.given_up}"
            self._say(why, "red")

    def _end(self) -> bool:
        """Finds the ensemble, shows and registers it, and reports; whether it is registered."""
        study, tracker, console = self.steering.study, self.tracker, self.console
        try:
            result = self._ensemble()
        except RayError as error:  # a worker died, or its node
            why = error_line(str(error))
            self._say(f"the best trials could not be scored ({why}): the same command with --resume tries again", "red")
            return False
        if result is None:
            mark_finished(study, True)
            self._say("no trial finished, so there is no ensemble: the lines above say why", "red")
            return False
        show(result, self.data, console)
        if self.plan.objective.second is not None:
            self._trade_offs(self.plan.objective.names)
        registered = self._publish(result)
        mark_finished(study, registered and self.steering.given_up is None)
        if self.options.report:
            look = partial(examine, self.data, bundle=self.resources.bundle())
            source = ReportSource(study, self.data, self.folder.checkpoints, result.openings, look)
            report_at_end(source, self.folder.local, tracker, console)
        return registered

    def _ensemble(self) -> EnsembleResult | None:
        study, data, resources, views = self.steering.study, self.data, self.resources, self.options.views
        with self.console.status("scoring the best trials"):
            metric, folds = self.plan.objective.metric, len(data.folds)
            request = EnsembleRequest(metric, self.options.members, views=views, folds=folds)
            score = partial(infer, data, bundle=resources.bundle(), views=views)
            saving = saving_predictions(score, study, data, self.folder.checkpoints, views)
            return find_ensemble(study, data, request, saving, self.tracker, self.console)

    def _trade_offs(self, metrics: tuple[str, ...]) -> None:
        """Shows the Pareto front, and leaves it with the parent run."""
        front = pareto_front(read_trials(self.steering.study), metrics)
        show_front(front, metrics, self.console)
        told = [
            {
                "trial": trial.number,
                "device": trial.device,
                **dict(zip(metrics, trial.objectives(metrics), strict=True)),
            }
            for trial in front
        ]
        with suppress(Exception):  # a server that does not answer is told of by the ensemble, which needs it, too
            self.tracker.log_parent({}, {"pareto_front.json": json.dumps(told, indent=1)})

    def _publish(self, result: EnsembleResult) -> bool:
        """Registers the ensemble and says where all is; False where MLflow would not take it."""
        name, study = self.plan.space.name, self.steering.study
        try:
            with self.console.status("registering the ensemble"):
                registration = publish(study, result, self.data, self.tracker, name)
        except Exception as error:  # whatever a server raises: hours of training must not end in a traceback
            failed = f"the ensemble could not be registered ({first_line(error)})"
            self._say(f"{failed}: the same command with --resume tries again", "red")
            return False
        shown = without_credentials(self.tracker.uri)
        where = f"mlflow ui --backend-store-uri {shown}" if shown.startswith("sqlite:") else shown
        self._say(registration.describe(name))
        self._say(f"All runs:   {where}   (experiment {name})")
        return True

    def _say(self, line: str, style: str | None = None) -> None:
        _say(self.console, line, style)
