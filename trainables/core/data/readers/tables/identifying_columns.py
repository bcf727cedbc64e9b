"""Columns of a table that may identify a person, which are not passed on unless the user names them."""

import re
from collections.abc import Sequence

from trainables.core.data.readers.tables.label_columns import is_known_group

# Words in the names of columns, after the identifiers of HIPAA's Safe Harbor (45 CFR 164.514(b)(2)).
_WORDS = (
    "name names surname lastname firstname forename initials dob birth birthday birthdate address street city town zip "
    "zipcode postcode postal phone telephone mobile fax mail email ssn nhs insurance policy account licence license "
    "serial ip url uid uuid guid id physician doctor radiologist consultant surgeon nurse technician operator reader "
    "referrer referring staff user contact relative comment comments "
    "note notes remark remarks report text date datetime timestamp"
)
_DATE = re.compile(r"\d{4}[-/.]?[01]\d[-/.]?[0-3]\d|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})")
_INTEGER = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?")
_FEW = 30  # values that may all be different without being identifiers


def identifying_reason(column: str, values: Sequence[str]) -> str:
    """Return why a column may identify a person, in a few words; "" if nothing says so.

    Args:
        column: Name of the column.
        values: Its values, "" if missing.
    """
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower()))
    if is_known_group(column) or words & set(_WORDS.split()):
        return "by its name"
    given = [value for value in values if value]
    if any(_DATE.match(value) and (len(value) == 8 or not _NUMBER.fullmatch(value)) for value in given):
        return "dates"
    different = set(given)
    if len(different) <= _FEW:
        return ""
    if all(map(_INTEGER.fullmatch, given)):
        return "a different number in each row" if len(different) == len(given) else ""
    if all(map(_NUMBER.fullmatch, given)):
        return ""
    return "a different text in most rows" if len(different) > len(given) / 2 else ""
