"""The check of a file that a command writes, before work of minutes."""

from pathlib import Path

from trainables.core.errors import UserError


def check_output_file(option: str, file: Path) -> None:
    """Refuse a folder, and a file in a folder that does not exist.

    Args:
        option: Option that names the file, such as ``--out``.
        file: Its value.

    Raises:
        UserError: The file cannot be written there.
    """
    rule = f"{option} must be a file in an existing folder"
    if file.is_dir():
        raise UserError(f"{rule}, but {file} is a folder: add the name of a file")
    if not file.parent.is_dir():
        raise UserError(f"{rule}, but {file.parent} is not one: create it, or give another")
