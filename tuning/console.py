"""Lines on the console, printed as they are: no markup, no highlighting, no wrapping."""

from collections.abc import Iterable

from rich.console import Console


def say(console: Console, line: str, style: str | None = None) -> None:
    """Prints one line."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def say_notes(console: Console, notes: Iterable[str]) -> None:
    """Prints notes (sentences without the full stop) in yellow."""
    for note in notes:
        say(console, f"Note: {note}.", "yellow")
