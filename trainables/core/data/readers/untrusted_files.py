"""Files of a data set whose author need not be trusted."""

import os
import re
import stat
from pathlib import Path

# Encoded; the largest image that is decoded has a third of that without any compression.
_MOST_BYTES = 2**30
# What a terminal obeys, what reorders or hides text, and what no file can be written with.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def read_file(file: Path) -> bytes:
    """The bytes of an image file, wherever a link leads.

    Raises:
        OSError: It cannot be read, is beyond 1 GiB, or is a pipe or device, which may never end.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if found.st_size > _MOST_BYTES:
        raise OSError(f"it has {found.st_size} bytes, of at most {_MOST_BYTES}")
    return file.read_bytes()


def check_within(root: Path, file: Path) -> None:
    """Raises OSError for what leads out of the data set's folder: a report would show what lies there."""
    if not Path(os.path.realpath(file)).is_relative_to(root.resolve()):  # `resolve` raises for a link to itself
        raise OSError("a link must not lead out of the data folder: copy what it leads to")


def printable(name: str) -> str:
    r"""A name from outside, in which ``\x1b`` and the like stand for characters that are not to be printed."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)
