"""What the commands share: options, how they refuse, how they end."""

import atexit
import os
import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from trainables.core.credentials import without_credentials

DATA, RECORD = "Data and models", "Where it is kept"

GroupThreshold = Annotated[
    float | None,
    typer.Option(
        help="Similarity in (0, 1) that makes images one group. Default: the lowest that gives none over 5% of all.",
        rich_help_panel=DATA,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(help="Column of parquet files that names each image's subject.", rich_help_panel=DATA),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help=r"What of a file's name names the subject, like '(person\d+)_'.",
        rich_help_panel=DATA,
    ),
]
SkipBadImages = Annotated[
    bool, typer.Option(help="Leave unreadable images out instead of refusing.", rich_help_panel=DATA)
]
CacheSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="What a node may keep of decoded images and frozen stages' outputs, like 50GB. "
        "Default: $TUNE_RUN_CACHE_SIZE, else a fifth of its disk.",
        rich_help_panel=DATA,
    ),
]
Storage = Annotated[
    str, typer.Option(envvar="TUNE_RUN_STORAGE", help="Folder, s3:// or gs:// of searches.", rich_help_panel=RECORD)
]
StudyStorage = Annotated[
    str | None,
    typer.Option(
        envvar="TUNE_RUN_STUDY_STORAGE",
        help="Database URL of the study. Default: a journal file.",
        rich_help_panel=RECORD,
    ),
]


class Views(StrEnum):
    """What a model sees of an image when it is scored: the keys of ``predict.VIEWS``, without its imports."""

    NONE = "none"
    FLIPS = "flips"
    TURNS = "turns"
    ALL = "all"


def new_app() -> typer.Typer:
    """An app whose errors are lines, not pages."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def refuse(program: str, message: str) -> NoReturn:
    """Says in one line what the user must mend, and ends with exit code 2."""
    message = without_credentials(message)
    Console(stderr=True).print(f"{program}: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def run_app(app: typer.Typer) -> NoReturn:
    """Runs a console script to its exit code."""
    code: object = 0
    try:
        app()
    except SystemExit as done:
        code = done.code
        if isinstance(code, str):  # a space's own way out
            print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter would take seconds to take all modules apart.
    os._exit(code if isinstance(code, int) else int(code is not None))
