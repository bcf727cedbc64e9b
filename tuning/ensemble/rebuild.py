"""Building the ensemble of a search again from its checkpoints: other members, rule or views, or a soup of them."""

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import optuna
from rich.console import Console

from analysis.ensembles.decisions import DEFAULT_DECISIONS, DecisionRules
from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, EnsembleResult, Openings
from analysis.ensembles.serialization import from_json
from analysis.ensembles.tasks.choose import TASKS
from analysis.registry import write_card
from analysis.registry.model_card import ModelCard
from analysis.trials import TrialRecord
from trainables.core.config import ClassificationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.errors import UserError, first_line
from trainables.worker.inference import extract_here, infer_here
from tuning.console import EXIT_FAILED, EXIT_OK, say
from tuning.ensemble.build import Infer, choose_ensemble, score_on_test, selection_bias
from tuning.ensemble.console_tables import show_choice, show_test
from tuning.ensemble.existing_search import check_data, search_run
from tuning.ensemble.member_features import member_features
from tuning.ensemble.members import EnsembleRequest, choose_members
from tuning.ensemble.publish import register
from tuning.ensemble.soup.choose_soup import ChosenSoup, SoupRequest, choose_soup
from tuning.ensemble.soup.ingredients import find_ingredients
from tuning.ensemble.soup.tables import show_soup, show_soup_on_test
from tuning.study.attributes import read_data_request, read_ensemble_request, read_identity
from tuning.study.opening_ledger import count_opening, openings, split_fingerprint
from tuning.study.search_folder import SearchFolder, existing_folder
from tuning.tracking.outbox import child_run
from tuning.tracking.parent_run import experiment_of

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class RebuildOptions:
    """Options of ``tune-ensemble``, as its help describes them."""

    name: str
    k: int | None = None
    members: tuple[int, ...] = ()
    rule: str | None = None
    soup: bool = False
    tta: str | None = None
    decisions: DecisionRules = DEFAULT_DECISIONS
    open_test: bool = False
    register: bool = False
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Rebuilt:
    """An ensemble to register, and what its page says about it (see ``ModelCard``)."""

    chosen: ChosenEnsemble
    data: Dataset
    openings: Openings
    evaluation: Evaluation | None


@dataclass(frozen=True, eq=False)
class _Search:
    """A search whose ensemble is built again.

    Attributes:
        folder: Its folder.
        study: Its study.
        identity: Its identity.
        data: Its data set.
        infer: Inference on the data set.
    """

    folder: SearchFolder
    study: optuna.Study
    identity: dict[str, Any]
    data: Dataset
    infer: Infer


def rebuild(options: RebuildOptions, console: Console) -> int:
    """Build and show the ensemble, or a soup; if requested, open the test set and register the model.

    Returns:
        0; 1 if no trial can be a member or MLflow rejects the model.

    Raises:
        UserError: An option is invalid for this search.
    """
    folder, study = existing_folder(options.storage, options.name, options.study_storage)
    identity, data_request = read_identity(study), read_data_request(study)
    request = _request(options, study, identity["metric"], data_request.folds or 0)
    members = choose_members(study, request, console)
    if not members:
        say(console, "no trial has finished, so there is no ensemble", "red")
        return 1
    _check_views(request.views, members[0], options.name)
    TASKS[_task(members[0])].check_decisions(request.decisions, data_request.healthy)
    trials = _trials_to_average(study, request, options, console) if options.soup else ()
    sizes = sorted({record.config["image_size"] for record in members})
    with console.status("reading the data"):
        data = data_request.prepare(sizes=sizes)
    check_data(data, identity)
    infer: Infer = partial(infer_here, data, views=request.views)
    with console.status(f"scoring members on {data.selection}"):
        ensemble = choose_ensemble(members, data, request, infer, selection_bias(study, data, request))
    search = _Search(folder, study, identity, data, infer)
    if not options.soup:
        show_choice(ensemble, console)
        return _finish(search, ensemble, options, console)
    with tempfile.TemporaryDirectory() as place:
        with console.status("averaging trials, and scoring the averages on select"):
            soup = choose_soup(SoupRequest(trials, data, request, infer, place), ensemble)
        show_soup(soup, data, console)
        return _finish(search, soup.average.chosen, options, console, soup)


def _request(options: RebuildOptions, study: optuna.Study, metric: str, folds: int) -> EnsembleRequest:
    """Return the request for the ensemble: with ``--soup`` that of the search, since the options choose its trials."""
    searched_k, searched_views, searched = read_ensemble_request(study)
    decisions = options.decisions.with_defaults(from_json(searched, DecisionRules))
    k, members = (searched_k, ()) if options.soup else (options.k or searched_k, options.members)
    _check_rule(options.rule, max(k, len(members)))
    return EnsembleRequest(metric, k, members, options.rule, options.tta or searched_views, folds, decisions)


def _trials_to_average(
    study: optuna.Study, request: EnsembleRequest, options: RebuildOptions, console: Console
) -> tuple[TrialRecord, ...]:
    """Return the trials that a soup is chosen from: by default all, since their number costs it nothing.

    Raises:
        UserError: The search has none.
    """
    if request.folds:
        raise UserError(
            f"--soup averages trials of one network each, but those of {options.name} have one per fold: leave --soup "
            "out, or search without --cv-folds"
        )
    of_soup = replace(request, k=options.k or len(study.get_trials(deepcopy=False)), members=options.members)
    records = choose_members(study, of_soup, console)
    task = _task(records[0])
    if not TASKS[task].has_soups:
        raise UserError(
            f"--soup is not available for a {task}, whose decoder starts from other random weights in each trial: "
            "leave --soup out"
        )
    found = find_ingredients(records)
    if found.left_out:
        say(console, f"Left out of the soup: {found.describe_left_out()}.")
    return found.trials


def _finish(
    search: _Search,
    chosen: ChosenEnsemble,
    options: RebuildOptions,
    console: Console,
    soup: ChosenSoup | None = None,
) -> int:
    """Open the test set and register the model, as far as requested; return the exit code."""
    if not (options.open_test or options.register):
        return EXIT_OK
    study, data, identity = search.study, search.data, search.identity
    uri, run_id = search_run(options.tracking_uri, study, identity)
    fingerprint, evaluation = split_fingerprint(data, "test"), None
    if options.open_test:
        with search.folder.exclusive(study):  # refused while a driver runs, because it counts openings too
            count_opening(study, fingerprint)
        with console.status("scoring the test set"):
            evaluation = score_on_test(chosen, data, search.infer)
    opened = openings(study, fingerprint, uri, run_id)
    registered = EXIT_OK
    if options.register:
        registered = _register(
            study, Rebuilt(chosen, data, opened, evaluation), (uri, run_id), identity["space"], console
        )
    if evaluation is not None:
        show_test(EnsembleResult(chosen, evaluation, opened), data, console)
        if soup is not None:
            show_soup_on_test(soup, data, search.infer, console)
    return registered


def _check_rule(rule: str | None, members: int) -> None:
    rules = {task: kind.rules(members) for task, kind in TASKS.items()}
    if rule is not None and not any(rule in names for names in rules.values()):
        known = " or ".join(f"{', '.join(names)} ({task})" for task, names in rules.items())
        raise UserError(f"unknown --rule {rule!r}: use {known}")


def _check_views(views: str, member: TrialRecord, search: str) -> None:
    task = _task(member)
    if views != "none" and not TASKS[task].has_views:
        raise UserError(f"--tta is not available for a {task}, but {search} is one")


def _task(member: TrialRecord) -> str:
    return str(member.config.get("task", ClassificationConfig.task))


def _register(study: optuna.Study, rebuilt: Rebuilt, run: tuple[str, str], model_name: str, console: Console) -> int:
    """Register an ensemble, and write the page of its version, as for the ensemble of a search."""
    uri, run_id = run
    try:
        with console.status("registering the ensemble"):
            chosen, data = rebuilt.chosen, rebuilt.data
            features = member_features(data, chosen.checkpoints, partial(extract_here, data))
            registration = register(chosen, data, features, run, model_name, rebuilt.evaluation)
            card = ModelCard(
                name=model_name,
                search=study.study_name,
                experiment_id=experiment_of(uri, run_id),
                run_ids={number: child_run(study, number) for record in chosen.members for number in record.trials},
                registration=registration,
                **vars(rebuilt),
            )
            write_card(uri, card)
    except Exception as error:  # whatever a server raises
        say(console, f"the ensemble could not be registered: {first_line(error)}", "red")
        return EXIT_FAILED
    say(console, registration.describe(model_name))
    return EXIT_OK
