"""Shared options, error handling and exit of the commands."""

import atexit
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperCommand

from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import UserError, first_line
from trainables.core.redact import without_credentials
from tuning.console import EXIT_BROKEN_PIPE, EXIT_USAGE, say

if TYPE_CHECKING:
    from analysis.ensembles.decisions import DecisionRules
    from trainables.core.data.decode.nifti import Slicing
    from trainables.core.data.readers.tables.label_columns import LabelTable

DATA, RECORD = "Data and models", "Storage and tracking"


class Axis(StrEnum):
    """Directions of slices: the keys of ``nifti.AXES``, without importing it."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


GroupThreshold = Annotated[
    float | None,
    typer.Option(
        help="Minimum similarity of two images in one group, between 0 and 1. "
        "Default: the lowest at which no group holds more than 5% of the images.",
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
StudyFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="YAML file with what only people know about the study (purpose, ethics, population, reference standard), "
        "for the report's CLAIM checklist.",
        rich_help_panel=RECORD,
    ),
]
GroupFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Table with the group of each image, as tune-audit --write-groups writes it: columns image and group.",
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
    typer.Option(min=1, help="Most slices of each NIfTI volume, around its middle. Default: 32.", rich_help_panel=DATA),
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
SkipBadImages = Annotated[bool, typer.Option(help="Skip unreadable images instead of stopping.", rich_help_panel=DATA)]
CacheSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Disk space per node for decoded images and outputs of frozen stages, like 50GB. "
        "Default: $TUNE_RUN_CACHE_SIZE, else a fifth of the disk.",
        rich_help_panel=DATA,
    ),
]
OperatingPointOption = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="Rule that chooses the probability from which an image is positive: youden, f1, sensitivity=0.95, "
        "specificity=0.9 or cost=10 (a missed positive costs 10 false alarms). Default: youden; f1 for several labels.",
        rich_help_panel="Ensemble",
    ),
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of images whose prediction set has the true class, between 0.5 and 0.99. Default: 0.9 if there are "
        "enough groups to choose the ensemble on, else no sets.",
        rich_help_panel="Ensemble",
    ),
]
SearchName = Annotated[str, typer.Argument(help="Name of the search, which is its folder in --storage.")]
Storage = Annotated[
    str,
    typer.Option(
        envvar="TUNE_RUN_STORAGE", help="Folder of all searches: a path, s3:// or gs://.", rich_help_panel=RECORD
    ),
]
StudyStorage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="TUNE_RUN_STUDY_STORAGE",
        help="Database of the study. Default: a journal file in the search's folder.",
        rich_help_panel=RECORD,
    ),
]
SearchTrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow tracking server. Default: $MLFLOW_TRACKING_URI, else the one the search used.",
        rich_help_panel=RECORD,
    ),
]


class Views(StrEnum):
    """Test-time augmentations: the keys of ``predict_classes.VIEWS``, without importing it."""

    NONE = "none"
    FLIPS = "flips"
    TURNS = "turns"
    ALL = "all"


class Command(TyperCommand):
    """A command whose return value is its exit code, and whose user errors are one line and exit code 2.

    It refuses empty or unprintable arguments and numbers that are not finite.
    """

    def __init__(self, *args: Any, **settings: Any):
        """Join the lines of each paragraph of the help text, which Rich would otherwise keep apart."""
        settings["help"] = re.sub(r"(?<=\S)\n(?=\S)", " ", settings["help"])
        super().__init__(*args, **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. An empty one is refused because an unset shell variable leaves it."""
        for before, word in pairwise(["", *args]):
            if not word or re.fullmatch(r"--[\w\-]+=", word):
                self._refuse(f"arguments must not be empty, but the one after {before or 'the command'} is")
            if printable(word) != word:
                self._refuse(f"arguments must be printable text, but got {word}")
        rest: list[str] = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                self._refuse(f"--{name.replace('_', '-')} must be a finite number, but got {value}")
        return rest

    def invoke(self, ctx: Any) -> NoReturn:
        """Run the command and exit with its code. An OSError is, for example, a path that is too long."""
        try:
            code = super().invoke(ctx)
        except UserError as error:
            self._refuse(str(error))
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        except OSError as error:
            self._refuse(first_line(error))
        raise typer.Exit(code or 0)

    def _refuse(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with code 2."""
        say(Console(stderr=True), f"{self.name}: {printable(without_credentials(message))}", "red")
        raise typer.Exit(EXIT_USAGE)


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


def study_texts(file: str | None) -> dict[str, str] | None:
    """Read the study file; None without one.

    Raises:
        UserError: The file cannot be read, or has an unknown key.
    """
    if file is None:
        return None
    from analysis.report.reporting.study_file import read_study_file

    return read_study_file(Path(file))


def decision_rules(operating_point: str | None, coverage: float | None) -> "DecisionRules":
    """Return the wishes that the options name."""
    from analysis.ensembles.decisions import DecisionRules
    from analysis.statistics.thresholds import PointRule

    return DecisionRules(None if operating_point is None else PointRule.parse(operating_point), coverage)


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
        default: The space's table, parts of which the options replace.
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


def _close_stdout() -> None:
    """Discard what is still to be printed, because the program that read it has ended, as ``head`` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def new_app() -> typer.Typer:
    """Return an app without shell completion and without formatted tracebacks."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def console_script(app: typer.Typer) -> Callable[[], NoReturn]:
    """Return the function that a console script calls: it runs ``app`` and ends the process."""

    def main() -> NoReturn:
        code: object = 0
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal's encoding must not end a search
        try:
            app()
        except SystemExit as exit_:
            code = exit_.code
            if isinstance(code, str):  # raised by the user's search space
                print(code, file=sys.stderr)
        # An ordinary exit spends seconds on tearing down the imported modules. os._exit skips that, but also the exit
        # handlers and the flush. There is no public function that runs the exit handlers.
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()
            code = code or EXIT_BROKEN_PIPE
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))

    return main
