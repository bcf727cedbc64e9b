"""The first line of an evaluation: what DATA holds. It imports neither PyTorch nor MLflow, which take seconds."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.group_file import grouped_by_file
from tuning.console import say
from tuning.evaluate.data.subgroup_columns import subgroup_names


def describe_data(
    place: str, table: LabelTable | None, column: str | None, groups: str | None, by: Sequence[str], console: Console
) -> None:
    """Print what DATA holds, and refuse unknown columns of ``--by`` before minutes of work.

    Args:
        place: Place of the images.
        table: Table of the labels, or None.
        column: Value of ``--group-column``.
        groups: Value of ``--groups``.
        by: Columns that divide the images into subgroups.
        console: Console to print to.

    Raises:
        UserError: There is nothing to open, or a column does not exist.
    """
    source = open_source(place, column if table is None else None, table=table)
    if groups is not None:
        source = grouped_by_file(source, Path(groups))
    subgroup_names(source.metadata, by)
    say(console, f"{place}: {source.describe()}")
