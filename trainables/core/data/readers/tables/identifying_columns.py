"""Columns of a table that may identify a person, which are not passed on unless the user names them."""

import re
from collections.abc import Sequence

from trainables.core.data.readers.tables.label_columns import is_known_group, known_as

# Words in the names of columns, after the identifiers of HIPAA's Safe Harbor (45 CFR 164.514(b)(2)).
_WORDS = (
    "name names surname lastname firstname forename initials dob birth birthday birthdate address street city "
    "town zip zipcode postcode postal phone telephone mobile fax mail email ssn nhs insurance policy account "
    "licence license serial ip url uid uuid guid id identifier path file filename filepath born yob physician "
    "doctor radiologist consultant surgeon nurse technician operator reader referrer referring staff user contact "
    "relative comment comments note notes remark remarks report text date datetime timestamp"
)
# At the end of a name they say that it numbers something: "hospital number", but not "number of lesions".
_NUMBERS = frozenset({"no", "nr", "num", "number", "identifier"})
_JOINED = re.compile(  # the same in names that are written as one word
    "name$|birth|address|phone|email|postcode|zipcode|initials$|physician|instanceuid$|"
    "(patient|pat|hospital|record|insurance|nhs|account|contact)(id|no|nr|num|number|code|key)(?![a-z])|patientid"
)
_MONTH = (
    "(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|"
    "dec(ember)?)"
)
_DATE = re.compile(
    r"\d{4}[-/.]?[01]\d[-/.]?[0-3]\d|(19|20)\d\d[-/.](0?[1-9]|1[0-2])\b|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|"
    rf"\d{{1,2}}[-/. ]*{_MONTH}[-/., ]*\d{{2,4}}\b|{_MONTH}[-/. ]*\d{{1,2}}[-/, ]+\d{{4}}\b",
    re.IGNORECASE,
)
_DIGITS_OF_DATES = (8, 12, 14)  # without or with a time, if there is no separator
_PERSON = re.compile(r"[^\W\d]\^([^\W\d]|$)")  # a name as DICOM writes it, Smith^Anna
_INTEGER = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?")
_IN = {"row": "in", "patient": "for"}
_FEW = 30  # values that may all be different without being identifiers


def identifying_reason(column: str, values: Sequence[str], patients: Sequence[object] | None = None) -> str:
    """Return why a column may identify a person, in a few words; "" if nothing says so.

    Args:
        column: Name of the column.
        values: Its values, "" if missing.
        patients: Patient of each value, if known: a name is the same in all images of a patient.
    """
    if _is_identifying_name(column):
        return "by its name"
    given = [value for value in values if value]
    if any(_DATE.match(value) and _may_be_date(value) for value in given):
        return "dates"
    if any(map(_PERSON.search, given)):
        return "names of persons"
    different = len(set(given))
    if different <= _FEW:
        return ""
    units, unit = len(given), "row"
    if patients is not None:
        known = len({patient for patient, value in zip(patients, values, strict=True) if value})
        units, unit = (known, "patient") if known < units else (units, unit)
    if all(map(_INTEGER.fullmatch, given)):
        return f"a different number {_IN[unit]} each {unit}" if different >= units else ""
    if all(map(_NUMBER.fullmatch, given)):
        return ""
    return f"a different text {_IN[unit]} most {unit}s" if different > units / 2 else ""


def _is_identifying_name(column: str) -> bool:
    if known_as("label", column):  # such as class_name
        return False
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower())
    is_number = len(words) > 1 and words[-1] in _NUMBERS
    return is_known_group(column) or is_number or bool({*words} & {*_WORDS.split()} or _JOINED.search("".join(words)))


def _may_be_date(value: str) -> bool:
    return not _NUMBER.fullmatch(value) or len(value) in _DIGITS_OF_DATES
