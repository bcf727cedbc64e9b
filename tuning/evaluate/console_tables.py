"""Console output of an external evaluation."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.report import page
from analysis.report.evaluation.inputs import ExternalResult
from analysis.report.evaluation.tables import all_tables
from analysis.report.evaluation.wording import (
    about_copies,
    about_differences,
    about_earlier,
    about_left_out,
    about_recalibration,
    about_shift,
    about_undivided,
)
from trainables.core.plural import plural
from tuning.console import say, say_notes, with_whole_intervals

_LONGEST_WORD = 12


def show(result: ExternalResult, console: Console) -> None:
    """Print the scores, the operating points, calibration, subgroups, and how the images differ."""
    images = f"{plural(result.images, 'image')} in {plural(result.evaluation.groups, 'group')}"
    say(console, f"External evaluation: {images}; {about_earlier(result)}.")
    for table in all_tables(result):
        console.print(_as_rich(table, console.width))
    lines = [about_undivided(result), about_left_out(result), about_copies(result)]
    lines += [about_differences(result), about_shift(result)]
    for line in filter(None, [*lines, *about_recalibration(result)]):
        say(console, line)
    say_notes(console, result.notes)
    say(console, f"{result.model} on {result.place}: {result.headline()}", "bold")


def _as_rich(table: page.Table, width: int) -> Table:
    """Return a table for a console of a width."""
    drawn = Table(title=escape(table.title), title_justify="left")
    for position, heading in enumerate(table.headings):
        longest = max(map(len, heading.split()), default=0)
        least = min(longest, _LONGEST_WORD)  # words such as "sensitivity" stay whole
        drawn.add_column(escape(heading), justify="right" if position else "left", overflow="fold", min_width=least)
    for row in with_whole_intervals(table.headings, table.rows, width):
        drawn.add_row(*map(escape, row))
    return drawn
