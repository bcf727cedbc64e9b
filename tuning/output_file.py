"""Checks of a file that a command writes, before work of minutes."""

from collections.abc import Iterable
from pathlib import Path

from trainables.core.errors import UserError


def check_output_file(option: str, file: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse a folder, a file in a folder that does not exist, and a file that the command reads.

    Args:
        option: Option that names the file, such as ``--out``.
        file: Its value.
        inputs: Places that the command reads; some may not exist.

    Raises:
        UserError: The file cannot be written there, or is one of the inputs.
    """
    rule = f"{option} must be a file in an existing folder"
    if file.is_dir():
        raise UserError(f"{rule}, but {file} is a folder: add the name of a file")
    if not file.parent.is_dir():
        raise UserError(f"{rule}, but {file.parent} is not one: create it, or give another")
    check_no_input(option, file, inputs)


def check_no_input(option: str, file: Path, inputs: Iterable[Path]) -> None:
    """Refuse a file that the command reads, because the output would replace it.

    The arguments and errors are those of ``check_output_file``.
    """
    if file.exists() and any(place.exists() and place.samefile(file) for place in inputs):
        raise UserError(f"{option} must not be one of the inputs, but {file} is: give another name")


def data_files(place: str, tables: Iterable[str | None]) -> list[Path]:
    """Return the inputs that options name.

    Args:
        place: Folder, file, URI, or name of a data set.
        tables: Names of tables, which may be relative to ``place``; None for an option that is not given.
    """
    return [Path(place), *(Path(folder, name) for name in tables if name for folder in ("", place))]
