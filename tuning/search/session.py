"""One driver's session on a search, from options to an exit code."""

import traceback
from contextlib import ExitStack, suppress

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from rich.console import Console

from analysis.trials import read_trials
from trainables.core.plural import plural
from trainables.core.redact import without_credentials
from tuning.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, say
from tuning.ray_backend.callbacks.converged_search import ConvergedSearch
from tuning.ray_backend.callbacks.gpu_hours import GpuHours
from tuning.ray_backend.callbacks.progress import Progress
from tuning.ray_backend.callbacks.stalled_search import StalledSearch
from tuning.ray_backend.callbacks.training_time import TrainingTime
from tuning.ray_backend.ray_errors import TuneError
from tuning.ray_backend.tuner import TrialPolicy, build_tuner, fit
from tuning.search.finish import finish
from tuning.search.options import SearchOptions
from tuning.search.prepare import Search, check_search, join_cluster, open_search
from tuning.study.attributes import mark_finished, next_session
from tuning.study.repeated_failures import REPEATS
from tuning.study.search_folder import SearchFolder
from tuning.study.steering import Steering

optuna.logging.set_verbosity(optuna.logging.WARNING)

RESUMABLE = "Interrupted. Progress is saved: rerun the same command with --resume."
NOTHING_BEGAN = "Interrupted before the search began: there is nothing to resume."
_ERROR_FILE = "driver-error.txt"
_FATAL = (OSError, StorageInternalError, TuneError)  # for example, a full disk or a lost database connection


def run(options: SearchOptions, console: Console) -> int:
    """Run a search, or resume one.

    Returns:
        0 if the ensemble of at least one finished trial is registered, 130 when interrupted, 1 otherwise.

    Raises:
        BrokenPipeError: The output was closed while trials were running. Progress is saved.
        UserError: An option, the space or the data is invalid. Nothing was trained.
    """
    exists = options.resume
    try:
        with ExitStack() as stack:
            setup = check_search(options, stack, console)
            workers = join_cluster(setup, stack, console)
            plan, folder = setup.plan, setup.folder
            settings = (plan.objective, plan.steps, plan.seed, plan.pruning)
            study = stack.enter_context(folder.open(*settings, new=not options.resume))
            exists = True
            try:
                code = _run_to_end(open_search(setup, workers, study, console), console)
            except UpdateFinishedTrialError:
                name = study.study_name
                say(console, f"Another driver has finished trials of search {name}, so this one ends.", "red")
                code = EXIT_FAILED
            except _FATAL as error:
                if console.quiet:  # the program that read the output has ended; Tune wraps the error that says so
                    raise BrokenPipeError from error
                _report_failure(error, folder, console)
                code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        say(console, RESUMABLE if exists else NOTHING_BEGAN)
    return code


def _run_to_end(search: Search, console: Console) -> int:
    """Train and finish; close the parent run with the status of the search."""
    status = "FAILED"
    mark_finished(search.steering.study, False)
    try:
        _train(search, console)
        if not search.steering.is_complete():
            status = "KILLED"
            return EXIT_INTERRUPTED
        search.steering.end_if_complete()  # again, because Tune may have kept an error to itself
        if search.steering.given_up is not None:
            return _give_up(search.steering, console)
        if finish(search, console):
            status = "FINISHED"
            return EXIT_OK
        return EXIT_FAILED
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        search.tracker.close(status)
        for number, reason in search.tracker.refused.items():
            say(
                console,
                f"MLflow does not accept the run of trial {number}, so it is incomplete there: {reason}",
                "yellow",
            )
        if search.tracker.unsent:
            missing = f"MLflow is missing some results ({search.tracker.unsent})."
            say(console, f"{missing} Rerun with --resume to send them.", "yellow")


def _train(search: Search, console: Console) -> None:
    """Run the trials that remain."""
    options, plan, steering, resources = search.options, search.plan, search.steering, search.workers.resources
    epochs = plural(plan.epochs, "epoch")
    length = f"{plan.folds} folds of {epochs}" if plan.folds else f"up to {epochs}"
    say(
        console,
        f"search {steering.study.study_name}: {plural(steering.num_samples, 'trial')} of {length}, optimising "
        f"{plan.objective.metric}, {plural(resources.cpus, 'CPU')} and {plural(resources.gpus, 'GPU')} per trial",
    )
    session = next_session(steering.study)
    cost = GpuHours(steering.study, options.price_per_gpu_hour)
    converged, stalled = ConvergedSearch(steering, console), StalledSearch(steering, resources, console)
    spent = TrainingTime(steering.study)
    with Progress(steering, console, cost.describe) as progress:
        limits = (options.max_failures, options.trial_timeout_s)
        policy = TrialPolicy(resources, *limits, search.workers.requirements, resources.devices)
        callbacks = [progress, cost, spent, converged, stalled]
        fit(build_tuner(steering, search.data, policy, session, callbacks, stalled))
    say(console, f"the trials took {progress.spent()}")
    left = steering.num_samples - steering.handed_out()
    if left > 0 and steering.stop_when_converged and (reason := steering.convergence()):
        say(console, f"{plural(left, 'trial')} not started, because the search has converged: {reason}")


def _give_up(steering: Steering, console: Console) -> int:
    """Print why the search is given up and what to do. A search without a report has no results to continue from."""
    mark_finished(steering.study, not any(record.epochs for record in read_trials(steering.study)))
    say(
        console,
        f"Search stopped: {REPEATS} trials in a row failed with the same error: {steering.given_up}. This run "
        "has built no ensemble and not opened the test set. Fix the cause and rerun with --resume.",
        "red",
    )
    return EXIT_FAILED


def _report_failure(error: Exception, folder: SearchFolder, console: Console) -> None:
    """Print an error of the driver in one line, and write its traceback to the search's folder."""
    (cause,) = without_credentials(str(error)).strip().splitlines()[-1:] or [type(error).__name__]
    with suppress(OSError):
        (folder.local / _ERROR_FILE).write_text(without_credentials("".join(traceback.format_exception(error))))
    say(console, f"The search failed: {cause}. Progress is saved: fix this and rerun with --resume.", "red")
