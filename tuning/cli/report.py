"""``tune-report``: write the report of a search again."""

from pathlib import Path
from typing import Annotated

import typer

from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.record_options import (
    SearchName,
    SearchTrackingUri,
    Storage,
    StudyFile,
    StudyStorage,
    study_texts,
)
from tuning.console import Terminal
from tuning.output_file import check_no_input

app = new_app()


@app.command("tune-report", cls=Command)
def report(
    name: SearchName,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file. Default: report.html in the search's folder.")
    ] = None,
    study: StudyFile = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: SearchTrackingUri = None,
) -> int:
    """Write the report of a search again, from its study, data and checkpoints, and log it to the search's MLflow run.

    The search may still be running. The test set is not opened. Exit code 0: the report is written, and logged if
    MLflow answers; 2: wrong usage.
    """
    params = dict(locals())
    from tuning.report.remake_report import ReportOptions, remake

    if out is not None and study is not None:
        check_no_input("--out", out, [Path(study)])
    params["study_texts"] = study_texts(params.pop("study"))
    return remake(ReportOptions(**params), Terminal())


main = console_script(app)

if __name__ == "__main__":
    main()
