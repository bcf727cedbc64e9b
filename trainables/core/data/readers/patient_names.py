"""Values in the place of a patient: those that name none, and those that may name the same one."""

import re
from collections.abc import Iterable

_UNKNOWN = frozenset(
    {
        *("", "?", "-", "--", "n/a", "na", "nan", "nil", "none", "null", "unk", "unknown", "not available", "missing"),
        *("anon", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified", "redacted", "removed"),
    }
)


def names_patient(value: object) -> bool:
    """Return False for a missing value and for words such as ``unknown``: their images would become one big group."""
    return value is not None and str(value).strip().casefold() not in _UNKNOWN


def describe_unknown(images: int) -> list[str]:
    """Return a note on the number of images without a known patient, or none."""
    return [f"{images} images have no known patient, so each of their files is a group of its own"] if images else []


def alike_patients(patients: Iterable[str]) -> list[list[str]]:
    """Return the sets of names, each sorted, that differ only in case, hyphens or zeros: ``P-007`` and ``p7``."""
    spellings: dict[str, set[str]] = {}
    for patient in patients:
        joined = re.sub(r"(?<=[^\W\d_])[\s_.-]+(?=\d)", "", patient.casefold())
        spellings.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", joined), set()).add(patient)
    return [sorted(names) for names in spellings.values() if len(names) > 1]
