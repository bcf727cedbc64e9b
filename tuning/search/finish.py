"""End of a search: the ensemble, its registration and the report."""

import json
import shlex
from contextlib import suppress
from functools import partial

from rich.console import Console

from analysis.ensembles.result import EnsembleResult, Registration
from analysis.trials import pareto_front, read_trials
from trainables.core.errors import first_line
from trainables.core.redact import without_credentials
from trainables.worker.inference import examine, extract, infer
from tuning.console import say
from tuning.ensemble.build import find_ensemble
from tuning.ensemble.console_tables import show, show_front
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.publish import publish
from tuning.ensemble.saved_predictions import saving_predictions
from tuning.ray_backend.ray_errors import RayError
from tuning.ray_backend.reports import error_line
from tuning.report.make_report import ReportSource, report_at_end
from tuning.search.prepare import Search
from tuning.study.attributes import mark_finished


def finish(search: Search, console: Console) -> bool:
    """Find, show and register the ensemble, then write the report.

    Returns:
        True if the ensemble is registered.
    """
    study = search.steering.study
    try:
        result = _find_ensemble(search, console)
    except RayError as error:  # a worker or its node died
        reason = error_line(str(error))
        say(console, f"The best trials could not be scored ({reason}). Rerun with --resume to try again.", "red")
        return False
    if result is None:
        mark_finished(study, True)
        states = {record.state for record in read_trials(study)}
        more_time = search.steering.out_of_time() and "COMPLETE" not in states and states != {"FAIL"}
        why = "Give a longer --time-budget with --resume" if more_time else "The lines above say why"
        say(console, f"No trial finished, so there is no ensemble. {why}.", "red")
        return False
    # Register before printing: whatever happens to the output, the result of hours must not depend on it.
    registration, failure = _register(search, result, console)
    registered = registration is not None
    mark_finished(study, registered)
    with suppress(BrokenPipeError):  # nobody reads the output any more, but the report is still wanted
        show(result, search.data, console)
        if search.plan.objective.second is not None:
            _show_trade_off(search, console)
        if registration is None:
            say(console, f"The ensemble could not be registered ({failure}). Rerun with --resume to try again.", "red")
        else:
            _show_places(search, registration, console)
    if search.options.report:
        look = partial(examine, search.data, bundle=search.workers.resources.with_whole_gpu().bundle())
        source = ReportSource(study, search.data, search.folder.checkpoints, result.openings, look)
        with suppress(BrokenPipeError):
            report_at_end(source, search.folder.local, search.tracker, console)
    return registered


def _find_ensemble(search: Search, console: Console) -> EnsembleResult | None:
    study, data, options = search.steering.study, search.data, search.options
    request = EnsembleRequest(
        search.plan.objective.metric,
        options.members,
        views=options.views,
        folds=len(data.folds),
        decisions=options.decisions,
    )
    score = partial(infer, data, bundle=search.workers.resources.with_one_gpu().bundle(), views=options.views)
    with console.status("scoring the best trials"):
        saving = saving_predictions(score, study, data, search.folder.checkpoints, options.views)
        return find_ensemble(study, data, request, saving, search.tracker, console)


def _show_trade_off(search: Search, console: Console) -> None:
    """Show the Pareto front of two metrics, and log it to the parent run."""
    metrics = search.plan.objective.names
    front = pareto_front(read_trials(search.steering.study), metrics)
    show_front(front, metrics, console)
    rows = [
        {"trial": trial.number, "device": trial.device, **dict(zip(metrics, trial.objectives(metrics), strict=True))}
        for trial in front
    ]
    with suppress(Exception):  # registering the ensemble needs MLflow too, and reports its failure
        search.tracker.log_parent({}, {"pareto_front.json": json.dumps(rows, indent=1)})


def _register(search: Search, result: EnsembleResult, console: Console) -> tuple[Registration | None, str]:
    """Register the ensemble; return its entry in the registry, or None and the reason."""
    try:
        with console.status("registering the ensemble"):
            name = search.plan.space.name
            features = partial(extract, search.data, bundle=search.workers.resources.with_one_gpu().bundle())
            return publish(search.steering.study, result, search.data, search.tracker, name, features), ""
    except Exception as error:  # a server may raise anything, and hours of training must not end in a traceback
        return None, first_line(error)


def _show_places(search: Search, registration: Registration, console: Console) -> None:
    """Print where the model and all runs are."""
    name, uri = search.plan.space.name, without_credentials(search.tracker.uri)
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}" if uri.startswith("sqlite:") else uri
    say(console, registration.describe(name))
    say(console, f"All runs:   {command}   (experiment {name})")
