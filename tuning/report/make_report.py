"""The report of a search, from its study, its data and its checkpoints.

A report chooses nothing and does not open the test set: predictions on ``test`` are those saved at the opening.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import optuna
from rich.console import Console

from analysis.ensembles.result import Openings
from analysis.report.inputs import EnsembleInputs, Inspection, SearchInputs
from analysis.report.render import render
from trainables.core.atomic_write import atomic_file
from trainables.core.data.dataset import Dataset
from trainables.core.data.readers.tables.identifying_columns import identifying_reason
from trainables.core.data.splits.group_file import grouped_by_file
from trainables.core.errors import UserError, first_line
from tuning.console import say
from tuning.ensemble.saved_ensemble import load_ensemble
from tuning.ensemble.saved_predictions import load_predictions
from tuning.report.inspect_members import Examine, inspect_members
from tuning.study.attributes import read_data_request, read_first_trials, read_identity, read_study_texts
from tuning.study.successive_halving import rungs, rungs_before
from tuning.tracking.outbox import Tracker

REPORT = "report.html"


@dataclass(frozen=True)
class ReportSource:
    """Everything that a report is made from.

    Attributes:
        study: Study of the search, which may still run.
        data: Data set of the search.
        place: Path or URI of the search's folder.
        openings: Openings of the test set.
        examine: Measures and inspects members.
    """

    study: optuna.Study
    data: Dataset
    place: str
    openings: Openings
    examine: Examine


def make_report(source: ReportSource, file: Path, console: Console) -> None:
    """Write the report of a search as an HTML file, which appears whole or not at all."""
    began = time.monotonic()
    with console.status("making the report: reading the study") as status:
        search, ensemble = gather_search(source.study, source.data, source.openings.here), gather_ensemble(source)
        status.update("making the report: inspecting the members")
        inspection = inspect_members(source.data, ensemble, source.examine) if ensemble else Inspection()
        status.update("making the report: drawing")
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "scikit-learn", "plotly"))
        made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with Python {platform.python_version()}, {packages}."
        page = render(search, ensemble, inspection, made)
        with atomic_file(file) as partial:
            partial.write_text(page, encoding="utf-8")
    say(console, f"Report: {file} ({len(page.encode()) / 1e6:.1f} MB, made in {time.monotonic() - began:.0f} s)")


def report_at_end(source: ReportSource, folder: Path, tracker: Tracker, console: Console) -> None:
    """Make the report at the end of a search and log it to the parent run; a failure is only printed."""
    file = folder / REPORT
    try:
        make_report(source, file, console)
        tracker.log_file(file)
    except Exception as error:  # whatever a server, a disk or a library raises: the search itself has succeeded
        failed = f"the report could not be made or logged ({first_line(error)})"
        say(console, f"{failed}: make it with tune-report {source.study.study_name}", "yellow")


def gather_search(study: optuna.Study, data: Dataset, openings: int = 0) -> SearchInputs:
    """Return the facts of the search itself, which opened its test set a number of times."""
    identity = read_identity(study)
    epochs = int(identity["max-epochs"])
    of_version = rungs_before if read_first_trials(study) is None else rungs
    compared_at = of_version(identity.get("cv-folds") or epochs) if identity["pruning"] else ()
    names, metadata, unlisted = tuple[str, ...](), dict[str, Sequence[str]](), 0
    try:
        source, groups = data.open_source(), read_data_request(study).grouping.file
        names, metadata, unlisted = tuple(source.names), dict(source.metadata), source.unlisted
        if groups is not None:
            metadata = dict(grouped_by_file(source, Path(groups)).metadata)
    except (UserError, OSError):  # a file is gone, but the decoded images are in the cache
        pass
    patients = None if data.patients is None else data.patients.tolist()
    return SearchInputs(
        study,
        identity["space"],
        identity["metric"],
        epochs,
        compared_at,
        data,
        names,
        read_study_texts(study),
        {column: values for column, values in metadata.items() if not identifying_reason(column, values, patients)},
        unlisted,
        openings,
    )


def gather_ensemble(source: ReportSource) -> EnsembleInputs | None:
    """Return the ensemble with its saved predictions on ``test``; None if ``test`` was never opened for one."""
    study, result = source.study, load_ensemble(source.study, source.openings)
    if result is None:
        return None
    chosen = result.chosen
    predictions, why_none = load_predictions(study, source.data, source.place, chosen.checkpoints, "test", chosen.views)
    return EnsembleInputs(result, read_identity(study)["space"], predictions, why_none)
