"""Labels that usually mean that the class of an image is not known."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

from trainables.core.data.readers.name_keys import class_name_key
from trainables.core.errors import DataError
from trainables.core.plural import plural

# A finding such as "none", "uncertain" or "ungradable" can be a class.
_UNKNOWN = frozenset(
    class_name_key(name)
    for name in [
        *("", ".", "?", "??", "-", "--", "n/a", "na", "nan", "null", "unk", "unknown", "not known", "missing", "tbd"),
        *("not available", "not applicable", "not assessed", "not labeled", "not labelled", "not recorded"),
        *("not specified", "no label", "pending", "todo", "unannotated", "unassigned", "unclassified", "undefined"),
        *("unlabeled", "unlabelled", "unspecified", "exclude", "excluded", "discard", "discarded", "ignore", "ignored"),
    ]
)
_SIGNS = frozenset({"-1", "1"})  # the two classes of a support vector machine


def is_unknown(name: str) -> bool:
    """Return True for a missing value, and for words that stand for one."""
    return class_name_key(name) in _UNKNOWN


def check_known(names: Collection[str], labels: Iterable[str], column: str, place: str) -> None:
    """Raise DataError if a class is named like an unknown one, since a model would learn it like any other.

    Args:
        names: Names of the classes.
        labels: Names of the labels of all images.
        column: Column of the labels, for messages.
        place: Name of the table, for messages.
    """
    if found := [name for name in names if is_unknown(name)] or _codes(names):
        images = plural(Counter(labels)[found[0]], "image")
        raise DataError(
            f"each label must be a class, but column {column} of {place} has {found[0]!r} for {images}, "
            "which usually means that the class is not known: empty these cells, or rename it, such as to "
            f"'class {found[0]}', if it is a class"
        )


def _codes(names: Collection[str]) -> list[str]:
    """Return the names that stand for missing values among classes that are numbers, such as -1, 9 or 99."""
    if not all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names) or {*names} == _SIGNS:
        return []
    negative = [name for name in names if float(name) < 0]
    largest = max(names, key=float, default="")
    is_code = len(names) > 2 and re.fullmatch("9+", largest) and str(int(largest) - 1) not in names
    return negative or ([largest] if is_code else [])
