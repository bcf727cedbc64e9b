"""Plain lines on the console (no markup, highlighting or wrapping), and exit codes of the commands."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
EXIT_BROKEN_PIPE = 141  # as a shell shows a program that SIGPIPE has ended


class Terminal(Console):
    """A console that reports a closed pipe as Python does. Rich would exit with 1, which means a failed search."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise BrokenPipeError."""
        self.quiet = True
        raise BrokenPipeError


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print one line."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def say_notes(console: Console, notes: Iterable[str]) -> None:
    """Print notes (sentences without the full stop) in yellow."""
    for note in notes:
        say(console, f"Note: {note}.", "yellow")


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that shows a share as a progress bar, if the console is a terminal."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1)
        yield lambda share: progress.update(task, completed=share)


def with_whole_intervals(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Return the rows of a table for a console of ``width`` characters.

    If the table is wider, intervals such as ``[0.750, 0.901]`` stand below their values, instead of being divided.
    """
    longest_cells = (max(map(len, column)) for column in zip(headings, *rows, strict=True))
    is_wide = 1 + sum(3 + longest for longest in longest_cells) > width  # a column has a border and two spaces
    return [[cell.replace(" [", "\n[") if is_wide else cell for cell in row] for row in rows]
