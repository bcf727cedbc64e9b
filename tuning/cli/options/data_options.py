"""Options of the panel "Data and models", and the objects that their values stand for."""

import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainables.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from trainables.core.data.decode.nifti import Slicing
    from trainables.core.data.readers.tables.label_columns import LabelTable

DATA = "Data and models"


class Axis(StrEnum):
    """Directions of slices: the keys of ``nifti.AXES``, without importing it."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


GroupThreshold = Annotated[
    float | None,
    typer.Option(
        help="Minimum similarity of two images in one group, between 0 and 1. "
        "Default: the lowest at which groups of more than 5% of the images stay together if it rises.",
        rich_help_panel=DATA,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of --labels or of Parquet that identifies each image's patient.",
        rich_help_panel=DATA,
    ),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help=r"Regular expression that captures the patient in each file name, like '(person\d+)_'.",
        rich_help_panel=DATA,
    ),
]
GroupFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Table with the group of each image, as tune-audit --write-groups writes it: columns image and group. "
        "Further columns are metadata.",
        rich_help_panel=DATA,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Table with the label of each image: CSV, TSV, Excel or Parquet. Give train.csv and test.csv by repeating "
        "the option.",
        rich_help_panel=DATA,
    ),
]


def _column(content: str) -> Any:
    """Return the option for a column of the table."""
    help_text = f"Column of --labels with {content}. Default: recognised by its name."
    return typer.Option(metavar="COLUMN", help=help_text, rich_help_panel=DATA)


ImageColumn = Annotated[str | None, _column("the images' file names")]
LabelColumn = Annotated[str | None, _column("the classes")]
SplitColumn = Annotated[str | None, _column("the published splits (train, val, test)")]
WindowOption = Annotated[
    str | None,
    typer.Option(
        metavar="CENTER,WIDTH",
        help="Window for all DICOM images, such as 40,400 in Hounsfield units. Default: the first one in each file.",
        rich_help_panel=DATA,
    ),
]
AxisOption = Annotated[
    Axis | None,
    typer.Option(
        help="Direction in which the slices of NIfTI volumes are stacked. Default: axial.", rich_help_panel=DATA
    ),
]
SlicesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum number of slices from the middle of each NIfTI volume. Default: 32.", rich_help_panel=DATA
    ),
]
OrderedClasses = Annotated[
    bool | None,
    typer.Option(
        "--ordered/--unordered",
        help="Treat the classes as grades, such as stages of a disease, or not. Their order is the space's, or that of "
        "the numbers in their names. Default: the space's choice, or grades if all names are numbers.",
        rich_help_panel=DATA,
    ),
]
SkipBadImages = Annotated[
    bool,
    typer.Option(
        help="Skip images that are unreadable, nearly blank, unlabelled, or have a bad mask, instead of stopping.",
        rich_help_panel=DATA,
    ),
]
CacheSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Disk space per node for decoded images and outputs of frozen stages, like 50GB. "
        "Default: $TUNE_RUN_CACHE_SIZE, else a fifth of the disk.",
        rich_help_panel=DATA,
    ),
]


def parse_window(text: str | None) -> tuple[float, float] | None:
    """Return the centre and width in ``CENTER,WIDTH``.

    Raises:
        UserError: The text is something else.
    """
    if text is None:
        return None
    try:
        centre, width = map(float, text.split(","))
    except ValueError:
        centre = width = math.nan
    if not (math.isfinite(centre) and 1 <= width < math.inf):
        raise UserError(f"--window must be CENTER,WIDTH with a width of at least 1, such as 40,400, but got {text!r}")
    return centre, width


def say_files(console: "Console", place: str) -> None:
    """Print how many files a local data set has, before imports and checks that take seconds."""
    from trainables.core.data.readers.image_files import describe_files
    from tuning.console import say

    if Path(place).is_dir():
        say(console, f"reading {place}: {describe_files(Path(place))}")


def column_names(option: str, value: str) -> tuple[str, ...]:
    """Return the columns that an option names, separated by commas.

    Raises:
        UserError: It names none.
    """
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise UserError(f"{option} must name columns, such as site,sex, but got {value!r}: name some, or leave it out")
    return names


def parse_slicing(axis: Axis | None, slices: int | None) -> "Slicing | None":
    """Return the slices that the options name, or None if neither is given."""
    from trainables.core.data.decode.nifti import Slicing

    if axis is None and slices is None:
        return None
    default = Slicing()
    return Slicing(str(axis or default.axis), slices or default.count)


def label_table(
    labels: list[str] | None, default: "LabelTable | None" = None, **columns: str | None
) -> "LabelTable | None":
    """Return the table that the options name.

    Args:
        labels: Values of ``--labels``.
        default: The space's table; options replace parts of it.
        **columns: Values of ``--image-column`` and its siblings, by their first word.

    Raises:
        UserError: A column is given without a table.
    """
    from trainables.core.data.readers.tables.label_columns import LabelTable

    given: dict[str, Any] = {role: name for role, name in columns.items() if name is not None}
    files = labels or (default.files if default else ())
    if not files:
        for role, name in given.items():
            raise UserError(f"--{role}-column needs --labels FILE, but only the column {name!r} was given")
        return None
    # Workers do not know the folder in which the command was started.
    absolute = (str(Path(file).absolute()) if Path(file).is_file() else file for file in files)
    return replace(default or LabelTable(()), files=tuple(absolute), **given)


def absolute_place(data: str) -> str:
    """Return the absolute path of a local folder; other places as they are."""
    return str(Path(data).resolve()) if Path(data).exists() else data
