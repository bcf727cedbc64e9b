"""Shared options of the commands that take a registered model, and how they end when they are interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tuning.cli.shared_options import DATA, RECORD
from tuning.console import EXIT_INTERRUPTED, Terminal, say
from tuning.predict.fetch_model import MODEL_PLACES

if TYPE_CHECKING:
    from trainables.core.data.readers.tables.label_columns import LabelTable
    from tuning.evaluate.data.external_data import ExternalDataRequest

RegisteredModel = Annotated[str, typer.Argument(help=f"Registered model: {MODEL_PLACES}.", show_default=False)]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.",
        rich_help_panel=RECORD,
    ),
]
ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NEW=OLD",
        help="Class of DATA and the model's name for it. Repeatable. Default: equal names.",
        rich_help_panel=DATA,
    ),
]


def known_place(data: str) -> str:
    """Return the absolute path of a local folder; other places as they are."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def data_request(
    place: str,
    table: "LabelTable | None",
    column: str | None,
    pattern: str | None,
    file: str | None,
    class_names: list[str] | None,
) -> "ExternalDataRequest":
    """Return the labelled images that the options name.

    Args:
        place: Result of ``known_place``.
        table: Result of ``label_table``.
        column: Value of ``--group-column``.
        pattern: Value of ``--group-pattern``.
        file: Value of ``--groups``.
        class_names: Values of ``--map``.

    Raises:
        UserError: An option has a wrong value, or several name groups.
    """
    from trainables.core.data.splits.groups import Grouping
    from tuning.evaluate.data.class_names import parse_names
    from tuning.evaluate.data.external_data import ExternalDataRequest

    absolute = file and str(Path(file).absolute())
    return ExternalDataRequest(
        place, table, Grouping(None, column, pattern, file=absolute), parse_names(class_names or [])
    )


def interruptible(run: Callable[[Console], int], unchanged: Path | None = None) -> int:
    """Run a command, and say so if it is interrupted.

    Args:
        run: The command; it returns its exit code.
        unchanged: File that an interrupted command leaves as it was, or None.
    """
    console = Terminal()
    try:
        return run(console)
    except KeyboardInterrupt:
        say(console, "Interrupted." if unchanged is None else f"Interrupted; {unchanged} was not changed.")
        return EXIT_INTERRUPTED
