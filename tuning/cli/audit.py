"""``tune-audit``: find problems in a data set before training on it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from trainables.core.errors import UserError
from trainables.core.plural import plural
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.data_options import (
    AxisOption,
    CacheSize,
    GroupColumn,
    GroupFile,
    GroupPattern,
    GroupThreshold,
    ImageColumn,
    LabelColumn,
    Labels,
    OrderedClasses,
    SlicesOption,
    SplitColumn,
    WindowOption,
    absolute_place,
    label_table,
    parse_slicing,
    parse_window,
    say_files,
)
from tuning.console import EXIT_FAILED, EXIT_OK, Terminal, say, say_notes
from tuning.output_file import check_output_file, data_files

if TYPE_CHECKING:
    from trainables.core.data.source import Source
    from trainables.core.data.splits.audit import Audit
    from trainables.core.data.splits.pairs import Pair

app = new_app()
_MAX_LISTED = 10


@app.command("tune-audit", cls=Command)
def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="Data set: a local, s3:// or gs:// folder (class folders, Hub-layout Parquet, images with --labels, "
            "or images and masks), a Hugging Face Hub name, or phantoms."
        ),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="JSON file for the complete result.")
    ] = None,
    write_groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file for the group of each image, as --groups reads it.")
    ] = None,
    fail_on_leak: Annotated[
        bool, typer.Option(help="Exit with code 1 if groups of the published test split are also in training.")
    ] = False,
    group_threshold: GroupThreshold = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    groups: GroupFile = None,
    labels: Labels = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    window: WindowOption = None,
    axis: AxisOption = None,
    slices: SlicesOption = None,
    ordered: OrderedClasses = None,
    cache_size: CacheSize = None,
) -> int:
    """Find groups of related images in a data set and measure how they affect test scores.

    Images of one group must not be split: slices of one patient, or copies that were re-encoded, resized, brightened,
    mirrored, rotated, zoomed or cropped. Exit code 0: done; 1: a leak was found and --fail-on-leak is set; 2: wrong
    usage.
    """
    from trainables.core.data.audited_dataset import inspect, reading_notes
    from trainables.core.data.readers.pseudonyms import has_lasting_key
    from trainables.core.data.splits.group_file import group_table
    from trainables.core.data.splits.groups import Grouping
    from trainables.core.node_cache import parse_size

    inputs = data_files(data, [*(labels or ()), groups])
    for option, file in (("--json", json_file), ("--write-groups", write_groups)):  # before minutes of comparisons
        if file is not None:
            check_output_file(option, file, inputs)
    console = Terminal()
    options: dict[str, Any] = {
        "table": label_table(labels, image=image_column, label=label_column, split=split_column),
        "window": parse_window(window),
        "slicing": parse_slicing(axis, slices),
        "ordered": ordered,
        "grouping": Grouping(group_threshold, group_column, group_pattern, file=groups),
        "cache_size": None if cache_size is None else parse_size(cache_size),
    }
    say_files(console, data)
    shown: list[str] = []
    opened: list[Source] = []

    def describe(source: "Source") -> None:
        opened.append(source)
        say(console, f"{data}: {source.describe()}")
        shown.extend(reading_notes(source))
        say_notes(console, shown)

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"reading {escape(data)}", total=None)
        inspected = inspect(
            absolute_place(data),  # tune-run names images in the same way
            **options,
            on_open=describe,
            progress=lambda share: progress.update(task, description="comparing images", completed=share, total=1),
        )
    result = inspected.audit
    assert result is not None
    if json_file is not None:
        _write("--json", json_file, json.dumps(_plain(result), indent=1) + "\n")
    if write_groups is not None:
        patients = opened[0].patients if has_lasting_key() else ()
        _write("--write-groups", write_groups, group_table(opened[0].names, inspected.groups, patients))
    show(result, console)
    say_notes(console, [note for note in inspected.notes if note not in shown])
    return EXIT_FAILED if fail_on_leak and result.leaks else EXIT_OK


def show(audit: "Audit", console: Console) -> None:
    """Print an audit as tables and lines."""
    classes = Table("class", "images", audit.named, title=plural(audit.images, "image"), title_justify="left")
    for name, count in audit.class_counts.items():
        classes.add_row(escape(name), str(count), str(audit.groups_per_class[name]))
    console.print(classes, _thresholds_table(audit))
    if any(audit.pairs.values()):
        console.print(_pairs_table(audit, "Pairs of images in one group", audit.pairs))
    if audit.apart:
        console.print(_pairs_table(audit, f"Similar images of different {audit.named}", {"": audit.apart}))
        say(console, "Pass --group-threshold 0.95, for example, to group by similarity instead.")
    for line in _summary_lines(audit):
        say(console, line)


def _plain(audit: "Audit") -> dict[str, Any]:
    """Return the result as plain values, with names instead of indices."""
    plain, names = audit.to_dict(), audit.names
    del plain["names"]

    def named(pairs: Sequence["Pair"]) -> list[dict[str, Any]]:
        return [vars(pair) | {"first": names[pair.first], "second": names[pair.second]} for pair in pairs]

    plain["pairs"] = {kind: named(pairs) for kind, pairs in audit.pairs.items()}
    plain["apart"] = named(audit.apart)
    return plain


def _write(option: str, file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{option} must be writable, but {file} is not: {error.strerror}") from error


def _thresholds_table(audit: "Audit") -> Table:
    """Return a table of the groups at each similarity threshold, with the chosen one in bold."""
    columns = ["similarity", "groups", "largest", "accuracy of the nearest neighbour in another group"]
    columns = columns if audit.labelled else columns[:3]
    table = Table(*columns, title="Groups by similarity threshold", title_justify="left")
    for point in audit.curve:
        cells = (f"{point.threshold:g}", f"{point.groups}", f"{point.largest}", f"{point.neighbour_accuracy:.3f}")
        table.add_row(*cells[: len(columns)], style="bold" if point.threshold == audit.threshold else "")
    return table


def _pairs_table(audit: "Audit", title: str, by_kind: Mapping[str, Sequence["Pair"]]) -> Table:
    """Return a table of image pairs, mirrored and rotated ones first."""
    columns = ("", "image", "similar to", "similarity", "rotated", "mirrored", "zoom")
    table = Table(*columns, title=title, title_justify="left")
    for kind, pairs in by_kind.items():
        for pair in pairs[:_MAX_LISTED]:
            names = (escape(audit.names[index]) for index in (pair.first, pair.second))
            mirrored = "yes" if pair.mirrored else ""
            table.add_row(kind, *names, f"{pair.similarity:.2f}", f"{pair.degrees:.0f}°", mirrored, f"{pair.zoom:.2f}")
    return table


def _summary_lines(audit: "Audit") -> list[str]:
    from trainables.core.data.splits.audit import summary
    from trainables.core.data.splits.folds import small_set

    lines = [*summary(audit), f"exact duplicates of another image: {audit.exact_duplicates}"]
    if audit.labelled:
        lines.append(f"{audit.named} with images of different labels: {audit.contradicting_groups}")
    listed = {
        "images that cannot be used": [f"{name} ({reason})" for name, reason in audit.broken.items()],
        "blank images": audit.blank,
        "images that differ strongly from the rest in brightness or contrast": audit.outlying,
    }
    for finding, names in listed.items():
        more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
        shown = f" ({', '.join(names[:_MAX_LISTED])}{more})" if names else ""
        lines.append(f"{finding}: {len(names)}{shown}")
    if audit.leaks:
        lines.append(
            f"LEAK: {audit.test_twins_in_train:.1%} of the published test images share their "
            f"{audit.named.removesuffix('s')} with training images, so scores on them reward memorisation. "
            "By default, tune-run keeps groups together."
        )
    warning = small_set(audit.groups_per_class, audit.groups) if audit.labelled else ""
    return [*lines, warning] if warning else lines


main = console_script(app)

if __name__ == "__main__":
    main()
