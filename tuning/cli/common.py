"""What the commands share: options, how they refuse, how they end."""

import atexit
import math
import os
import re
import sys
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperCommand

from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import first_line
from trainables.core.redact import without_credentials

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


class Command(TyperCommand):
    """A command that refuses, in a line, words that can be no name or path, and numbers that are none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses what is empty, as an unset variable of the shell leaves it, cannot be text, or is ``nan``."""
        for before, word in pairwise(["", *args]):
            if not word or re.fullmatch(r"--[\w\-]+=", word):
                refuse(ctx.info_name or "", f"no word may be empty, but the one after {before or 'the command'!r} is")
            if printable(word) != word:
                refuse(ctx.info_name or "", f"words must be printable text, but got {word}")
        left: list[str] = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                refuse(ctx.info_name or "", f"--{name.replace('_', '-')} must be a finite number, but got {value}")
        return left

    def invoke(self, ctx: Any) -> Any:
        """Says in a line what a path cannot be: too long, forbidden, ..."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            refuse(ctx.info_name or "", first_line(error))


def new_app() -> typer.Typer:
    """An app whose errors are lines, not pages."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def refuse(program: str, message: str) -> NoReturn:
    """Says in one line what the user must mend, and ends with exit code 2."""
    message = printable(without_credentials(message))
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
