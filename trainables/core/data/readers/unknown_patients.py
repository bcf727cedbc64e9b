"""Values in the place of a patient that name none."""

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
