"""The ensemble of a search built again from its checkpoints: other members, another rule, other views; no training."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from rich.console import Console

from analysis.ensembles.rules import RULES
from analysis.ensembles.segmentation import mean_rules
from trainables.core.config import SegmentationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError, first_line
from trainables.worker.inference import infer_here
from tuning.ensemble.build import Built, Infer, Request, Result, best_trials, build, choose_members, open_test
from tuning.ensemble.console_tables import show_built, show_test
from tuning.ensemble.publish import register, told
from tuning.study.attributes import read_data_request, read_ensemble_request, read_identity
from tuning.study.opening_ledger import count_opening, openings, split_fingerprint
from tuning.study.search_folder import SearchFolder, existing_folder
from tuning.tracking.outbox import PARENT
from tuning.tracking.server import check_server, tracking_uri

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Options:
    """What a user asked for."""

    name: str
    k: int | None = None
    members: tuple[int, ...] = ()
    rule: str | None = None
    tta: str | None = None
    open_test: bool = False
    register: bool = False
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None


def rebuild(options: Options, console: Console) -> int:
    """Builds, shows, and does with the ensemble what was asked for.

    Returns:
        0, or 1 where no trial can be a member or MLflow did not take the model.

    Raises:
        UserError: Something the user gave cannot be.
    """
    folder, study = existing_folder(options.storage, options.name, options.study_storage)
    searched_k, searched_views = read_ensemble_request(study)
    k, views = options.k or searched_k, options.tta or searched_views
    of_masks = mean_rules(max(k, len(options.members)))
    if options.rule is not None and options.rule not in (*RULES, *of_masks):
        of_classes = ", ".join(RULES)
        raise UserError(
            f"--rule must be one of {of_classes}, or of masks {', '.join(of_masks)}, but got {options.rule!r}"
        )
    identity, asked = read_identity(study), read_data_request(study)
    request = Request(identity["metric"], k, options.members, options.rule, views, asked.folds or 0)
    members = choose_members(study, request, console)
    if not members:
        console.print("no trial has finished, so there is no ensemble", style="red")
        return 1
    if views != "none" and members[0].config.get("task") == SegmentationConfig.task:
        raise UserError(f"--tta is for classifications, but {options.name} is a segmentation")
    sizes = sorted({record.config["image_size"] for record in members})
    with console.status("reading the data"):
        data = asked.prepare(sizes=sizes)
    check_data(data, identity)
    infer: Infer = partial(infer_here, data, views=views)
    with console.status(f"scoring members on {data.selection}"):
        built = build(members, data, request, infer, best_trials(study, data, request))
    show_built(built, console)
    if options.open_test:
        _open_test(options, folder, study, identity, built, data, infer, console)
    return _register(options, study, identity, built, data, console) if options.register else 0


def check_data(data: Dataset, identity: dict[str, Any]) -> None:
    """Raises UserError unless the data, and what ``select`` and ``test`` hold of it, are what the search began with."""
    if data.fingerprint != identity["data fingerprint"]:
        raise UserError(f"the data must be what the search began with, but {data.place} has changed: restore it")
    for split in (data.selection, "test"):
        if split_fingerprint(data, split) != identity[f"{split} fingerprint"]:
            raise UserError(
                f"{split} must hold the images that it held in the search, but this version of the program "
                f"divides them otherwise: use the one that searched"
            )


def _open_test(
    options: Options,
    folder: SearchFolder,
    study: optuna.Study,
    identity: dict[str, Any],
    built: Built,
    data: Dataset,
    infer: Infer,
    console: Console,
) -> None:
    """Counts, opens and shows the test set; refused while a driver is on the search, which counts as well."""
    uri, run_id = search_run(options.tracking_uri, study, identity)
    fingerprint = split_fingerprint(data, "test")
    with folder.exclusive(study):
        count_opening(study, fingerprint)
    opened = openings(study, fingerprint, uri, run_id)
    with console.status("scoring the test set"):
        evaluation = open_test(built, data, infer)
    result = Result(built, evaluation, opened)
    show_test(result, data, console)


def _register(
    options: Options, study: optuna.Study, identity: dict[str, Any], built: Built, data: Dataset, console: Console
) -> int:
    uri, run_id = search_run(options.tracking_uri, study, identity)
    try:
        with console.status("registering the ensemble"):
            registered = register(built, data, uri, run_id, identity["space"])
    except Exception as error:  # whatever a server raises
        failed = f"the ensemble could not be registered: {first_line(error)}"
        console.print(failed, style="red", markup=False, soft_wrap=True)
        return 1
    console.print(told(registered, identity["space"]), markup=False, highlight=False, soft_wrap=True)
    return 0


def search_run(given: str | None, study: optuna.Study, identity: dict[str, Any]) -> tuple[str, str]:
    """MLflow's URI and the search's parent run.

    Raises:
        UserError: MLflow does not answer, or has no run of the search.
    """
    given = given or os.environ.get("MLFLOW_TRACKING_URI")
    uri = tracking_uri(given or identity["tracking-uri"])
    check_server(uri)
    run_id = study.user_attrs.get(PARENT)
    if run_id is None:
        raise UserError("the search must have a run in MLflow, but has none: go on with tune-run --resume")
    return uri, run_id
