"""``tune-new``: write a starting search space for a folder of images."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainables.core.errors import UserError
from tuning.cli.command import Command, console_script, new_app
from tuning.cli.options.data_options import GroupColumn, ImageColumn, LabelColumn, Labels, SplitColumn, label_table
from tuning.console import Terminal, say, say_notes
from tuning.output_file import check_output_file

if TYPE_CHECKING:
    from tuning.folder_summary import FolderSummary

app = new_app()


@app.command("tune-new", cls=Command)
def new(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of images: class folders, Hub-layout Parquet, or images with --labels."
        ),
    ],
    labels: Labels = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    healthy: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class without a disease, for sensitivity and specificity. Default: the one named like normal, "
            "healthy, negative or no finding.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Python file to write, whose name is also the space's. Default: my_<name of DIR>_space.py, here.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented search space to start from, based on the classes, counts and sizes of a folder's images.

    Exit code 0: written; 2: wrong usage.
    """
    from search_spaces.space import load_space
    from tuning.folder_summary import inspect_folder
    from tuning.new_space import starting_space

    file = out or Path(f"my_{_slug(folder.resolve().name).lower()}_space.py")
    if file.suffix != ".py":
        raise UserError(f"--out must end in .py, but got {file}")
    check_output_file("--out", file)
    if file.exists() and not force:
        raise UserError(f"{file} exists: give another --out, or --force to overwrite it")
    columns = {"image": image_column, "label": label_column, "split": split_column, "group": group_column}
    table = label_table(labels, None, **columns)
    images = inspect_folder(folder, table)
    healthy, about_healthy = _healthy_class(images, healthy)
    text = starting_space(images, _slug(file.stem), healthy)
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"--out must be writable, but {file} is not: {error.strerror}") from error
    load_space(str(file))  # checks that it parses
    console = Terminal()
    say(console, f"{file}: {', '.join(f'{count} {name}' for name, count in images.counts.items())}")
    say_notes(console, [*images.notes, *about_healthy])
    given = [("--labels", name) for name in labels or ()]
    given += [(f"--{role}-column", name) for role, name in columns.items() if name is not None]
    audit = shlex.join(["tune-audit", str(images.place), *(word for pair in given for word in pair)])
    dry_run = shlex.join(["tune-run", str(file), "--dry-run", "5"])  # the space holds the table and its columns
    say(console, f"Next: {audit}, then {dry_run}")


def _slug(text: str) -> str:
    """Return a text with underscores for all that the name of a space must not contain."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "images"


def _healthy_class(images: "FolderSummary", given: str | None) -> tuple[str | None, list[str]]:
    """Return the class without a disease, given or guessed from the names, and notes.

    Raises:
        UserError: The given class does not exist.
    """
    from tuning.new_space import has_healthy, healthy_by_name

    classes = ", ".join(images.counts)
    if given is not None and not has_healthy(images):
        raise UserError("--healthy needs one class per image, but the images have several labels")
    if given is not None and given not in images.counts:
        raise UserError(f"--healthy must be one of {classes}, but got {given!r}")
    if given is not None or not has_healthy(images):
        return given, []
    guess = healthy_by_name(images)
    if guess is not None:
        return guess, [f"{guess} is taken as the class without a disease because of its name (--healthy CLASS)"]
    return None, [f"no class name says which class has no disease: name it with --healthy ({classes})"]


main = console_script(app)

if __name__ == "__main__":
    main()
