"""The report of a search made again, without the command that searched."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from rich.console import Console

from trainables.core.errors import UserError, first_line
from trainables.worker.inference import examine_here
from tuning.ensemble.build import noted_ensemble
from tuning.ensemble.rebuild import check_data, search_run
from tuning.report.make_report import REPORT, make_report
from tuning.study.attributes import read_data_request, read_identity
from tuning.study.opening_ledger import Openings, openings, openings_here, split_fingerprint
from tuning.study.search_folder import existing_folder
from tuning.tracking.outbox import log_file

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Options:
    """What a user asked for."""

    name: str
    out: Path | None = None
    storage: str = "results"
    study_storage: str | None = None
    tracking_uri: str | None = None


def remake(options: Options, console: Console) -> int:
    """Makes the report and logs it to the search's run, where MLflow answers.

    Returns:
        0.

    Raises:
        UserError: Something the user gave cannot be.
    """
    folder, study = existing_folder(options.storage, options.name, options.study_storage)
    identity, asked = read_identity(study), read_data_request(study)
    file = options.out or folder.local / REPORT
    if not file.parent.is_dir():
        raise UserError(f"--out must be a file in a folder that exists, but {file.parent} does not")
    known = noted_ensemble(study, Openings(0, None))
    sizes = {record.config["image_size"] for record in known.built.members} if known else {identity["image-size"]}
    with console.status("reading the data"):
        data = asked.prepare(sizes=sorted(sizes))
    check_data(data, identity)
    fingerprint, run = split_fingerprint(data, "test"), None
    opened = Openings(openings_here(study, fingerprint), None)
    try:
        run = search_run(options.tracking_uri, study, identity)
        opened = openings(study, fingerprint, *run)
    except UserError as error:
        unlogged = f"the report will not be logged: {error}"
        console.print(unlogged, style="yellow", markup=False, highlight=False, soft_wrap=True)
    make_report(study, data, folder.checkpoints, opened, partial(examine_here, data), file, console)
    if run is not None:
        try:
            log_file(*run, file)
        except Exception as error:  # whatever a server raises: the report is made
            failed = f"the report could not be logged: {first_line(error)}"
            console.print(failed, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return 0
