"""``tune-new``: a search space to begin with, from a folder of images."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuning.cli.common import Command, new_app, refuse, run_app

app = new_app()


@app.command(cls=Command)
def new(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder: class folders or hub-layout parquet, as tune-run takes them."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The Python file. Default: my_<DIR's name>_space.py, here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a search space to begin with, with comments, from the classes, counts and sizes of a folder's images.

    Exit code 0: written; 2: wrong usage.
    """
    from search_spaces.space import SpaceError, load_space
    from trainables.core.errors import UserError
    from tuning.new_space import find, starting_space

    slug = re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_").lower() or "images"
    file = out or Path(f"my_{slug}_space.py")
    if file.suffix != ".py":
        refuse("tune-new", f"--out must be a file that ends in .py, but got {file}")
    if file.exists() and not force:
        refuse("tune-new", f"{file} is there already: give another --out, or --force to overwrite it")
    try:
        found = find(folder)
        file.write_text(starting_space(found, f"my_{slug}_space"), encoding="utf-8", errors="backslashreplace")
        load_space(str(file))
    except (UserError, SpaceError) as error:
        refuse("tune-new", str(error))
    except OSError as error:
        refuse("tune-new", f"{file} must be a file that can be written, but is not: {error.strerror}")
    classes = ", ".join(f"{count} {name}" for name, count in found.counts.items())
    for line in (f"{file}: {classes}", f"Next: tune-audit {found.place}, then tune-run {file} --dry-run 5"):
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
