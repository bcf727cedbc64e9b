"""Preparation of a search in three steps: check everything that needs no cluster, join one, open the study."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from analysis.ensembles.serialization import to_json
from trainables.core.data.dataset import Dataset
from trainables.core.node_cache import parse_size
from trainables.core.plural import plural
from trainables.core.redact import without_credentials
from trainables.worker.node_requirements import NodeRequirements
from tuning.console import say, say_notes
from tuning.ray_backend.cluster import check_address, joined
from tuning.ray_backend.gpu_classes import gpu_class_for
from tuning.ray_backend.gpu_sharing import measure_loads, shared_gpu
from tuning.ray_backend.node_checks import node_requirements, unshared_folders
from tuning.ray_backend.resources import Capacity, Resources, trial_resources
from tuning.ray_backend.tuner import TrialPolicy
from tuning.search.first_trials import enqueue_first_trials, warm_start
from tuning.search.options import SearchOptions
from tuning.search.plan import REHEARSED_TRIALS, Plan
from tuning.search.preflight import (
    check_devices,
    check_plan,
    checkpoint_bytes,
    find_data,
    identity,
    load_data,
    one_per_network,
    search_info,
)
from tuning.search.roi import fetch_segmentation, save_segmentation
from tuning.study.attributes import (
    divided_as_before,
    read_first_trials,
    read_training_time,
    save_data_request,
    save_ensemble_request,
    save_options,
    save_study_texts,
    save_training_time,
)
from tuning.study.data_request import DataRequest
from tuning.study.identity import STORAGE, check_identity
from tuning.study.search_folder import SearchFolder, find_folder
from tuning.study.steering import Steering
from tuning.tracking.outbox import Tracker, check_experiment
from tuning.tracking.server import check_server, tracking_uri


@dataclass(frozen=True)
class Setup:
    """A search whose options, networks, disk space and data have been checked.

    Attributes:
        options: Options of the user.
        plan: Settings of all trials.
        folder: Folder of the search.
        request: Arguments that ``data`` was prepared from.
        data: Data set.
        identity: Settings that must not change on resume.
        tracking_uri: MLflow tracking URI.
        warm: Parameters of the best trials of earlier searches.
    """

    options: SearchOptions
    plan: Plan
    folder: SearchFolder
    request: DataRequest
    data: Dataset
    identity: dict[str, Any]
    tracking_uri: str
    warm: list[dict[str, Any]]


@dataclass(frozen=True)
class Workers:
    """Resources of one trial, and requirements for nodes that join later; None if none can."""

    resources: Resources
    requirements: NodeRequirements | None


@dataclass(frozen=True)
class Search:
    """A search that is ready to train.

    Attributes:
        options: Options of the user.
        plan: Settings of all trials.
        folder: Folder of the search.
        data: Data set.
        workers: Resources and node requirements of trials.
        steering: Study and everything that steers its trials.
        tracker: Outbox to MLflow.
    """

    options: SearchOptions
    plan: Plan
    folder: SearchFolder
    data: Dataset
    workers: Workers
    steering: Steering
    tracker: Tracker


def check_search(options: SearchOptions, stack: ExitStack, console: Console) -> Setup:
    """Check everything that needs no cluster, and prepare the data.

    Args:
        options: Options of the user.
        stack: A downloaded ``--roi`` model is deleted when it closes.
        console: Console for progress and notes.

    Raises:
        UserError: An option, the space, the networks, the disk space or the data are invalid.
    """
    options.check()
    check_address(options.address)
    plan, request = options.plan(), options.data_request()
    rehearsed = plan.samples(REHEARSED_TRIALS)
    name, exact = options.name or plan.space.name, options.name is not None
    folder = find_folder(options.storage, name, options.study_storage, options.resume, exact)
    parameters = check_plan(plan)
    check_devices(rehearsed, options.known_gpus)
    started = folder.load()
    known = started is not None and read_first_trials(started) is not None
    names = () if known else options.warm_start
    warm = warm_start(names, plan, options.storage, options.study_storage)
    request = find_data(options, request)
    if started is not None:
        request = divided_as_before(started, request)
    note = folder.check_disk_space(checkpoint_bytes(plan, parameters, rehearsed), options.trials)
    say_notes(console, [] if note is None else [note])
    if options.roi is not None:
        roi = fetch_segmentation(options.roi, options.tracking_uri, stack, console)
        request = replace(request, roi=str(roi))
    cache_size = None if options.cache_size is None else parse_size(options.cache_size)
    data = load_data(request, plan, rehearsed, cache_size, console)
    uri = tracking_uri(options.tracking_uri)
    same = {**identity(plan, data), "warm-start": list(options.warm_start) or None, STORAGE: folder.fixed_root}
    return Setup(options, plan, folder, request, data, same, uri, warm)


def join_cluster(setup: Setup, stack: ExitStack, console: Console) -> Workers:
    """Join or start a Ray cluster, and check that its nodes can run the trials and that MLflow answers.

    Args:
        setup: Checked search.
        stack: The cluster is left when it closes.
        console: Console for notes.

    Raises:
        UserError: The cluster or MLflow does not answer, or no node can run a trial.
    """
    options = setup.options
    pool = stack.enter_context(ThreadPoolExecutor(1))
    server_answers = pool.submit(check_server, setup.tracking_uri)  # may create tables while Ray starts
    can_grow = stack.enter_context(joined(options.address))
    server_answers.result()
    check_experiment(setup.tracking_uri, setup.plan.space.name)  # before the study exists, or it would look unfinished
    gpu_class = None if options.gpu_memory is None else gpu_class_for(options.gpu_memory)
    gpus = 1.0 if options.gpus_per_trial == "auto" and options.autoscale else options.known_gpus
    resources = trial_resources(options.cpus_per_trial, gpus, can_grow, gpu_class)
    if not can_grow:
        return Workers(resources, None)
    places = [place for place in (setup.data.place, setup.plan.weights) if "://" in place or Path(place).is_dir()]
    local = unshared_folders([*places, setup.folder.root])
    say_notes(console, [f"nodes that join later must share {', '.join(local)} with this one"] if local else [])
    return Workers(resources, stack.enter_context(node_requirements(setup.folder.root, places)))


def open_search(setup: Setup, workers: Workers, study: optuna.Study, console: Console) -> Search:
    """Record a search in its study, or check that a resumed one is the same; enqueue its first trials.

    Args:
        setup: Checked search.
        workers: Resources and node requirements of trials; ``--gpus-per-trial auto`` divides the GPU.
        study: The search's study.
        console: Console for notes.

    Raises:
        UserError: A resumed search would become another one.
    """
    options, plan, data, request = setup.options, setup.plan, setup.data, setup.request
    uri = without_credentials(setup.tracking_uri)
    check_identity(study, {**setup.identity, "tracking-uri": uri}, request)
    _save_options(options, study, uri)
    if data.regions is not None:
        regions = save_segmentation(data.regions, setup.folder.local)
        data, request = replace(data, regions=regions), replace(request, roi=str(regions.model))
    save_data_request(study, request)
    save_ensemble_request(study, options.members, options.views, to_json(options.decisions))
    if options.study_texts is not None:
        save_study_texts(study, options.study_texts)
    enqueue_first_trials(study, plan, options.trials, setup.warm)
    if options.gpus_per_trial == "auto":
        workers = _sharing_gpus(setup, workers, study, console)
    steering = Steering(
        study=study,
        objective=plan.objective,
        epochs=plan.steps,
        num_samples=options.trials,
        max_concurrent=options.max_concurrent or options.autoscale or None,
        deadline=time.monotonic() + options.time_budget_s - read_training_time(study),
        configure=plan.configure,
        storage=setup.folder.checkpoints,
        capacity=Capacity(workers.resources, options.autoscale),
        unit="fold" if plan.folds else "epoch",
        stop_when_converged=options.stop_when_converged,
    )
    _note_used_budget(steering, console)
    tracker = Tracker(study, setup.tracking_uri, search_info(study, data, {**setup.identity, "top-k": options.members}))
    return Search(options, plan, setup.folder, data, workers, steering, tracker)


def _save_options(options: SearchOptions, study: optuna.Study, uri: str) -> None:
    """Save the options of a search. A new time budget begins with them, whatever fails after that.

    A driver killed between the two writes must not leave a budget that is used up: the next one would end the search.
    """
    if not options.continue_budget:
        save_training_time(study, 0.0)
    save_options(study, {**options.given, "tracking_uri": uri})


def _note_used_budget(steering: Steering, console: Console) -> None:
    if steering.out_of_time() and steering.ended() < steering.num_samples:
        say_notes(console, ["the search has used its time budget, so no trial starts: give a new --time-budget"])


def _sharing_gpus(setup: Setup, workers: Workers, study: optuna.Study, console: Console) -> Workers:
    """Return the workers of trials that share GPUs, after measuring trials if any are left."""
    options, plan = setup.options, setup.plan
    left = options.trials - sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    if left <= 0:
        return workers
    if not workers.resources.gpus:
        say_notes(console, ["no node has a GPU, so --gpus-per-trial auto has nothing to share"])
        return workers
    configs = one_per_network(plan.samples(REHEARSED_TRIALS, options.trials, setup.warm))
    say(console, f"measuring {plural(len(configs), 'trial')}, one for each network, each on a GPU")
    policy = TrialPolicy(workers.resources, 0, options.trial_timeout_s, workers.requirements)
    loads = measure_loads(configs, setup.data, plan.objective, policy, console)
    at_once = min(left, options.max_concurrent or options.autoscale or left)
    shared = shared_gpu(workers.resources, options.cpus_per_trial, loads, at_once, console)
    return replace(workers, resources=shared)
