"""``tune-report``: make the report of a search again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuning.cli.common import RECORD, Command, Storage, StudyStorage, new_app, refuse, run_app

if TYPE_CHECKING:
    from tuning.report.remake_report import Options

app = new_app()


@app.command(cls=Command)
def report(
    name: Annotated[str, typer.Argument(help="Of the search: its folder in --storage.")],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file. Default: report.html in the search's folder.")
    ] = None,
    storage: Storage = "results",
    study_storage: StudyStorage = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow. Default: $MLFLOW_TRACKING_URI, else the search's.", rich_help_panel=RECORD),
    ] = None,
) -> None:
    """Make the report of a search again, from its study, its data and its checkpoints, and log it to its run.

    It may still be running. No test set is opened. Exit code 0: made, and logged where MLflow answers; 2: wrong usage.
    """
    from tuning.report.remake_report import Options

    options = Options(name, out, storage, study_storage, tracking_uri)
    raise typer.Exit(_make(options))


def _make(options: "Options") -> int:
    from trainables.core.errors import UserError
    from tuning.report.remake_report import remake

    try:
        return remake(options, Console())
    except UserError as error:
        refuse("tune-report", str(error))


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
