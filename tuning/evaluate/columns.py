"""Values of images by which they are divided into subgroups: columns of a table or DICOM tags, numbers in ranges."""

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from trainables.core.errors import UserError

UNKNOWN = "unknown"
_AGE = re.compile(r"(^|[^a-z])age([^a-z]|$)|alter", re.IGNORECASE)
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?) *(?:y|yr|yrs|years?)?$", re.IGNORECASE)
_AGES = (18.0, 40.0, 65.0)  # lower ends of the ranges of ages, in years
_MOST_VALUES = 8  # a column of more numbers is divided into ranges, one of more names is refused
_MOST_NAMES = 30


def subgroup_names(columns: Mapping[str, Sequence[str]], asked: Sequence[str]) -> dict[str, list[str]]:
    """Return the subgroup of each of N images in each column that was asked for, "unknown" for empty values.

    A column of numbers is divided into ranges: ages at 18, 40 and 65 years, others with more than eight values at their
    quartiles.

    Raises:
        UserError: A column does not exist or has too many values.
    """
    for name in asked:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1, cutoff=0.0)
            has = f"has {', '.join(columns)}; did you mean {near[0]!r}?" if columns else "has no further columns"
            raise UserError(
                f"--by must name columns of --labels or --groups, or DICOM tags, but got {name!r}, and DATA {has}"
            )
    return {name: _names(name, columns[name]) for name in asked}


def _names(column: str, values: Sequence[str]) -> list[str]:
    texts = [" ".join(value.split()) for value in values]
    numbers = [_NUMBER.match(text) for text in texts]
    if all(number or not text for number, text in zip(numbers, texts, strict=True)) and any(numbers):
        found = [float(number[1]) if number else np.nan for number in numbers]
        different = np.unique([value for value in found if not np.isnan(value)])
        if _AGE.search(column):
            return _ranges(found, _AGES)
        if len(different) > _MOST_VALUES:
            return _ranges(found, np.unique(np.quantile(different, (0.25, 0.5, 0.75))).tolist())
    different_texts = {text for text in texts if text}
    if len(different_texts) > _MOST_NAMES:
        raise UserError(
            f"--by needs columns of at most {_MOST_NAMES} values, but {column!r} has {len(different_texts)}: "
            "join them in the table"
        )
    return [text or UNKNOWN for text in texts]


def _ranges(values: Sequence[float], starts: Sequence[float]) -> list[str]:
    """Return the name of each value's range, such as ``40 to below 65``."""
    ends = [f"{start:g}" for start in starts]
    names = [f"below {ends[0]}", *(f"{low} to below {high}" for low, high in pairwise(ends))]
    names.append(f"{ends[-1]} and above")
    places = np.searchsorted(starts, values, side="right")
    return [UNKNOWN if np.isnan(value) else names[place] for value, place in zip(values, places, strict=True)]
