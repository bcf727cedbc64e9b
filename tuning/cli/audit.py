"""``tune-audit``: what is wrong with a data set before anything is trained on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tuning.cli.common import CacheSize, Command, GroupColumn, GroupPattern, GroupThreshold, new_app, refuse, run_app

if TYPE_CHECKING:
    from trainables.core.data.splits.audit import Audit

app = new_app()
_SHOWN = 10


@app.command(cls=Command)
def audit(
    data: Annotated[
        str, typer.Argument(help="A folder (hub-layout parquet or class folders), a hub data set, or phantoms.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything there, as JSON.")
    ] = None,
    fail_on_leak: Annotated[
        bool, typer.Option(help="Exit with 1 where the published test split shares groups with training.")
    ] = False,
    group_threshold: GroupThreshold = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    cache_size: CacheSize = None,
) -> None:
    r"""Find the images of a data set that belong together, and what they do to its test scores.

    Groups are images that must not be split: slices of one subject, copies that were re-encoded, resized, brightened,
    mirrored or rotated. Exit code 0; 1 with --fail-on-leak and a leak; 2: wrong usage.
    """
    from trainables.core.data.prepare import inspect
    from trainables.core.data.splits.groups import Grouping
    from trainables.core.errors import UserError
    from trainables.core.node_cache import parse_size

    console = Console()
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"reading {escape(data)}", total=None)
            found = inspect(
                data,
                grouping=Grouping(group_threshold, group_column, group_pattern),
                cache_size=None if cache_size is None else parse_size(cache_size),
                progress=lambda share: progress.update(
                    task, description="comparing the images", completed=share, total=1
                ),
            ).audit
        assert found is not None
        if json_file is not None:
            json_file.write_text(json.dumps(found.to_dict(), indent=1) + "\n")
    except UserError as error:
        refuse("tune-audit", str(error))
    except OSError as error:
        refuse("tune-audit", f"--json must be a file that can be written, but {json_file} is not: {error.strerror}")
    show(found, console)
    raise typer.Exit(1 if fail_on_leak and found.leaks else 0)


def show(found: "Audit", console: Console) -> None:
    """Prints an audit as tables and lines."""
    classes = Table("class", "images", found.named, title=f"{found.images} images", title_justify="left")
    for name, count in found.class_counts.items():
        classes.add_row(escape(name), str(count), str(found.groups_per_class[name]))
    columns = ["images alike by", "groups", "largest", "nearest neighbour outside its own group"]
    columns = columns if found.labelled else columns[:3]
    curve = Table(*columns, title="What each threshold would make of them", title_justify="left")
    for point in found.curve:
        chosen = point.threshold == found.threshold
        figures = (f"{point.threshold:g}", f"{point.groups}", f"{point.largest}", f"{point.neighbour_accuracy:.3f}")
        curve.add_row(*figures[: len(columns)], style="bold" if chosen else "", end_section=False)
    console.print(classes, curve, *([_pairs(found)] if any(found.pairs.values()) else []))
    for line in _lines(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _pairs(found: "Audit") -> Table:
    """Some of the images that the groups are made of: mirrored and rotated ones first."""
    table = Table(
        "", "image", "is like", "by", "rotated", "mirrored", title="Images of one group", title_justify="left"
    )
    for why, pairs in found.pairs.items():
        for pair in pairs[:_SHOWN]:
            names = (escape(found.names[index]) for index in (pair.first, pair.second))
            mirrored = "yes" if pair.mirrored else ""
            table.add_row(why, *names, f"{pair.similarity:.2f}", f"{pair.degrees:.0f}°", mirrored)
    return table


def _lines(found: "Audit") -> list[str]:
    from trainables.core.data.splits.audit import summary
    from trainables.core.data.splits.folds import small_set

    listed = {
        "images cannot be used": [f"{name} ({reason})" for name, reason in found.broken.items()],
        "images are blank": found.blank,
        "images are far brighter, darker, flatter or starker than the others": found.outlying,
    }
    lines = [
        *summary(found),
        f"{found.exact_duplicates} images have the very pixels of another",
    ]
    if found.labelled:
        lines.append(f"{found.contradicting_groups} {found.named} have images of different labels")
    for what, names in listed.items():
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        lines.append(f"{len(names)} {what}" + (f": {shown}" if names else ""))
    if found.leaks:
        assert found.test_twins_in_train is not None
        lines.append(
            f"LEAK: {found.test_twins_in_train:.1%} of the published test images have one of their own {found.named} "
            "in training: a score on them measures memory. tune-run divides by whole groups unless told otherwise."
        )
    few = small_set(found.groups_per_class, found.groups) if found.labelled else ""
    return [*lines, few] if few else lines


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
