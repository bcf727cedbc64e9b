"""Subgroups of images by the values of a column: numbers in ranges, all else as it is."""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from trainables.core.data.readers.tables.unknown_labels import is_unknown

UNKNOWN = "unknown"
_AGE = re.compile(r"(?<![a-z])(patient)?age(?![a-z])|(?<![a-z])(patienten|lebens)?alter(?![a-z])", re.IGNORECASE)
# A comma is decimal unless three digits follow, which may be thousands.
_DIGITS = r"-?\d+(?:\.\d+|,(?!\d{3}(?!\d))\d+)?(?:e[-+]?\d+)?"
_NUMBER = re.compile(rf"({_DIGITS}) *(?:y|yr|yrs|years?)?$", re.IGNORECASE)
_PER_YEAR = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}  # units of ages, by their first letter
_AGE_VALUE = re.compile(rf"({_DIGITS}) *(y|yr|yrs|years?|m|mo|mos|months?|w|wk|wks|weeks?|d|days?)?$", re.IGNORECASE)
_AGES = (18.0, 40.0, 65.0)  # lower ends of the ranges of ages, in years
_OLDEST = 120.0  # higher ages, such as 999, stand for unknown ones, as negative ones do
_MOST_VALUES = 8  # a column of more numbers is divided into ranges


def subgroups_by(column: str, values: Sequence[str]) -> list[str]:
    """Return the subgroup of each of N images, "unknown" for empty values and words such as "n/a" (``is_unknown``).

    A column of numbers is divided into ranges: ages at 18, 40 and 65 years, others with more than eight values at their
    quartiles. Ages may have a unit: years, months, weeks or days, also in the form of DICOM, such as 006M; those
    below 0 or above 120 years are unknown.

    Args:
        column: Name of the column.
        values: N values.
    """
    spaced = (" ".join(value.split()) for value in values)
    texts = ["" if is_unknown(text) else text for text in spaced]
    is_age = _AGE.search(column) is not None
    numbers = [(_AGE_VALUE if is_age else _NUMBER).match(text) for text in texts]
    if all(number or not text for number, text in zip(numbers, texts, strict=True)) and any(numbers):
        if is_age:
            return _ranges([_years(number) if number else np.nan for number in numbers], _AGES)
        found = [_float(number[1]) if number else np.nan for number in numbers]
        different = np.unique([value for value in found if not np.isnan(value)])
        if len(different) > _MOST_VALUES:
            return _ranges(found, np.unique(np.quantile(different, (0.25, 0.5, 0.75))).tolist())
    return [text or UNKNOWN for text in texts]


def in_order(subgroups: Sequence[str]) -> list[str]:
    """Return the different subgroups: ranges from the lowest, names by the alphabet, and unknown values last."""

    def key(name: str) -> tuple[bool, float, str]:
        number = re.match(_DIGITS, name)
        lowest = -np.inf if name.startswith("below ") else np.inf
        return name == UNKNOWN, _float(number[0]) if number else lowest, name

    return sorted(set(subgroups), key=key)


def _float(digits: str) -> float:
    return float(digits.replace(",", "."))


def _years(age: re.Match[str]) -> float:
    """Return an age in years, NaN if it is impossible; one without a unit is in years."""
    years = _float(age[1]) / _PER_YEAR[(age[2] or "y")[0].lower()]
    return years if 0 <= years <= _OLDEST else np.nan


def _ranges(values: Sequence[float], starts: Sequence[float]) -> list[str]:
    """Return the name of each value's range, such as ``40 to below 65``."""
    ends = [f"{start:.15g}" for start in starts]
    names = [f"below {ends[0]}", *(f"{low} to below {high}" for low, high in pairwise(ends))]
    names.append(f"{ends[-1]} and above")
    places = np.searchsorted(starts, values, side="right")
    return [UNKNOWN if np.isnan(value) else names[place] for value, place in zip(values, places, strict=True)]
