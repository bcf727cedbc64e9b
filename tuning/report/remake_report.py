"""Making the report of a search again, after or during the search."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from rich.console import Console

from analysis.ensembles.result import Openings
from trainables.core.errors import UserError, first_line
from trainables.worker.inference import examine_here
from tuning.console import say
from tuning.ensemble.existing_search import check_data, search_run
from tuning.ensemble.saved_ensemble import load_ensemble
from tuning.output_file import check_output_file
from tuning.report.make_report import REPORT, ReportSource, make_report
from tuning.study.attributes import read_data_request, read_identity, save_study_texts
from tuning.study.opening_ledger import openings, openings_here, split_fingerprint
from tuning.study.search_folder import existing_folder
from tuning.tracking.parent_run import log_file

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class ReportOptions:
    """Options of ``tune-report``, as its help describes them."""

    name: str
    out: Path | None = None
    study_texts: Mapping[str, str] | None = None
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None


def remake(options: ReportOptions, console: Console) -> int:
    """Make the report, and log it to the search's run if MLflow answers.

    Returns:
        0.

    Raises:
        UserError: An option is invalid, or the data has changed.
    """
    folder, study = existing_folder(options.storage, options.name, options.study_storage)
    file = options.out or folder.local / REPORT
    check_output_file("--out", file)
    identity, data_request = read_identity(study), read_data_request(study)
    saved = load_ensemble(study, Openings(0, None))
    sizes = {record.config["image_size"] for record in saved.chosen.members} if saved else {identity["image-size"]}
    with console.status("reading the data"):
        data = data_request.prepare(sizes=sorted(sizes))
    check_data(data, identity)
    fingerprint, run = split_fingerprint(data, "test"), None
    opened = Openings(openings_here(study, fingerprint), None)
    try:
        run = search_run(options.tracking_uri, study, identity)
        opened = openings(study, fingerprint, *run)
    except UserError as error:
        say(console, f"the report will not be logged: {error}", "yellow")
    if options.study_texts is not None:
        save_study_texts(study, options.study_texts)
    source = ReportSource(study, data, folder.checkpoints, opened, partial(examine_here, data))
    make_report(source, file, console)
    if run is not None:
        try:
            log_file(*run, file, REPORT)
        except Exception as error:  # whatever a server raises: the report exists
            say(console, f"the report could not be logged: {first_line(error)}", "yellow")
    return 0
