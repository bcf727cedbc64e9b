"""Lookup of the images that a table names."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from trainables.core.data.readers.image_files import without_suffix

# Differences that are ignored, each only if nothing matches without it: none, case, and zeros that a spreadsheet drops.
_TIERS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    str.casefold,
    lambda name: re.sub(r"(^|/)0+(?=\d)", r"\1", name.casefold()),
)


NO_IMAGE = "no image has this name"


class FoundImage(NamedTuple):
    """Image of a name.

    Attributes:
        name: The image's path below the folder; the name itself if it has no image.
        reason: Reason why the name has no image, or "".
        exact: False if case or leading zeros had to be ignored.
    """

    name: str
    reason: str = ""
    exact: bool = True


class NamedImages:
    """Images of a folder by the names that tables use.

    A name stands for the image whose absolute path ends in it, with or without the suffix. So it may be a file name,
    a path below the folder, or a longer path. A whole path below the folder, with the suffix, goes before the others.
    """

    def __init__(self, root: Path, files: Sequence[Path]):
        """Create a lookup of files, whose paths are relative to ``root``."""
        self.names = [file.as_posix() for file in files]
        self._prefix = root.absolute().as_posix()
        self._found: dict[tuple[int, int], dict[str, set[str]]] = {}

    def find(self, value: str) -> FoundImage:
        """Find the image of a name."""
        if not value:
            return FoundImage(value, "a row has no image name")
        # PurePosixPath drops "./" and doubled slashes.
        name = PurePosixPath(unicodedata.normalize("NFC", value.replace("\\", "/"))).as_posix()
        length = 0 if name.startswith("/") else name.count("/") + 1
        for tier, simplify in enumerate(_TIERS):
            found = sorted(self._by_tail(tier, length).get(simplify(name), ()))
            whole = [image for image in found if simplify(unicodedata.normalize("NFC", image)) == simplify(name)]
            found = whole if len(whole) == 1 else found
            if len(found) > 1:
                return FoundImage(value, f"it could be {found[0]} or {found[1]}: give the path below the folder")
            if found:
                return FoundImage(found[0], exact=tier == 0)
        return FoundImage(value, NO_IMAGE)

    def _by_tail(self, tier: int, length: int) -> dict[str, set[str]]:
        """Return the images by the last ``length`` parts of their paths, 0 for all parts, with and without suffix."""
        if (tier, length) not in self._found:
            by_tail: dict[str, set[str]] = {}
            for name in self.names:
                path = PurePosixPath(self._prefix, unicodedata.normalize("NFC", name))
                # The last number of a UID, as in 1.2.840.1, is no suffix.
                stem = path if path.suffix[1:].isdigit() else path.with_name(without_suffix(path.name))
                for whole in (path, stem):
                    tail = "/".join(whole.parts[-length:]) if length else whole.as_posix()
                    by_tail.setdefault(_TIERS[tier](tail), set()).add(name)
            self._found[tier, length] = by_tail
        return self._found[tier, length]
