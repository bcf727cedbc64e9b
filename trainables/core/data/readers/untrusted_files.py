"""Reading of files whose author is not trusted."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

# Encoded size. The largest image that is decoded needs a third of this even without compression.
_MOST_BYTES = 2**30
_SHOWN = 3  # names in a line
# Terminal control characters, characters that reorder or hide text, and lone surrogates, which cannot be written.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def read_file(file: Path) -> bytes:
    """Return the bytes of an image file, following links.

    Raises:
        OSError: The file cannot be read, exceeds 1 GiB, or is a pipe or device, which may never end.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is not a regular file")
    if found.st_size > _MOST_BYTES:
        raise OSError(f"it has {found.st_size} bytes, more than {_MOST_BYTES}")
    return file.read_bytes()


def check_within(root: Path, file: Path) -> None:
    """Raise OSError for a link that leads out of the data set's folder: a report would show what it points to."""
    if not Path(os.path.realpath(file)).is_relative_to(root.resolve()):  # `resolve` raises for a link to itself
        raise OSError("a link must not lead out of the data folder: copy its target there")


def printable(name: str) -> str:
    r"""Return an untrusted name with unprintable characters escaped, like ``\x1b``."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def listed(names: Sequence[str]) -> str:
    """Return the first three untrusted names in one line."""
    return ", ".join(map(printable, names[:_SHOWN])) + ", ..." * (len(names) > _SHOWN)
