"""Options of the commands that take a registered model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.cli.options.data_options import DATA
from tuning.predict.fetch_model import MODEL_PLACES

if TYPE_CHECKING:
    from trainables.core.data.readers.tables.label_columns import LabelTable
    from tuning.evaluate.data.external_data import ExternalDataRequest

RegisteredModel = Annotated[str, typer.Argument(help=f"Registered model: {MODEL_PLACES}.", show_default=False)]
ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NEW=OLD",
        help="Class of DATA and the model's name for it. Repeatable. Default: equal names.",
        rich_help_panel=DATA,
    ),
]


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
        place: Result of ``absolute_place``.
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
