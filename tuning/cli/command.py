"""A command: its checks of the arguments, its errors and its exit."""

import atexit
import gc
import math
import os
import re
import sys
from collections.abc import Callable
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperCommand

from trainables.core.data.readers.untrusted_files import printable
from trainables.core.errors import UserError, first_line
from trainables.core.redact import without_credentials
from tuning.console import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_USAGE, Terminal, say

# New objects after which Python looks for garbage; its default is 700. Importing PyTorch, Ray and MLflow makes millions
# of objects, and nearly all of them stay. Looking through them again and again took a fifth of the time of the imports.
_COLLECT_AFTER = 100_000


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
        except RuntimeError as error:
            if not _is_full_gpu(error):
                raise
            self._refuse(
                f"the GPU's memory must suffice for one image, but {first_line(error)}: end other programs on the GPU, "
                f"or use the CPU with CUDA_VISIBLE_DEVICES= {self.name}"
            )
        raise typer.Exit(code or 0)

    def _refuse(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with code 2."""
        say(Console(stderr=True), f"{self.name}: {printable(without_credentials(message))}", "red")
        raise typer.Exit(EXIT_USAGE)


def _is_full_gpu(error: RuntimeError) -> bool:
    torch = sys.modules.get("torch")  # only commands that need it have imported it, because that takes seconds
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


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
        gc.set_threshold(_COLLECT_AFTER)
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
