"""Values in the place of a patient: those that name none, and those that may name the same one."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from trainables.core.data.readers.untrusted_files import listed
from trainables.core.errors import DataError
from trainables.core.plural import plural

_UNKNOWN = frozenset(
    {
        *("", "?", "-", "--", "n/a", "na", "nan", "nil", "none", "null", "unk", "unknown", "not available", "missing"),
        *("anon", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified", "redacted", "removed"),
    }
)


# Among at least _MANY patients, one with a larger share of the images than this gets a note.
_LARGE_SHARE, _MANY = 0.25, 8


def names_patient(value: object) -> bool:
    """Return False for a missing value and for words such as ``unknown``: their images would become one big group."""
    return value is not None and str(value).strip().casefold() not in _UNKNOWN


def count_patients(values: Iterable[object]) -> int:
    """Return the number of different patients that values name."""
    return len({str(value) for value in values if names_patient(value)})


def describe_unused(column: str, values: Iterable[object]) -> str:
    """Return a note on a column known as the patient that names fewer than two, as after anonymisation."""
    return f"column {column} names {plural(count_patients(values), 'patient')}, so it is not used to group images"


def name_the_same(columns: Sequence[Sequence[object]]) -> bool:
    """Return True if all columns group the images alike, so that it does not matter which of them is used."""
    keys = [[str(value) if names_patient(value) else (row,) for row, value in enumerate(of)] for of in columns]
    return all(len({*zip(keys[0], other, strict=True)}) == len({*keys[0]}) == len({*other}) for other in keys[1:])


def check_patients(column: str, values: Iterable[object]) -> None:
    """Raise DataError if a column that the user named as the patient names fewer than two."""
    if (count := count_patients(values)) < 2:
        raise DataError(
            f"--group-column must name at least two patients, but {column} names {count}: name another column, or "
            "leave the option out to group images by similarity"
        )


def describe_largest(groups: Sequence[Hashable]) -> list[str]:
    """Return a note if one of many patients has a large share of the images, as those without an identifier may."""
    counts = Counter(groups)
    if len(counts) < _MANY or counts.most_common(1)[0][1] <= _LARGE_SHARE * len(groups):
        return []
    return [
        f"one of {len(counts)} patients has {counts.most_common(1)[0][1]} of {len(groups)} images: if its identifier "
        "stands for unknown patients, leave it empty in a table, or give --groups FILE"
    ]


def describe_joined(patients: Sequence[Hashable], groups: Sequence[Hashable], names: Sequence[str]) -> list[str]:
    """Return a note if equal images join many patients into one group, as a placeholder for a missing image does.

    Args:
        patients: N patients.
        groups: N groups, of one or several whole patients each.
        names: N names of the images.
    """
    of_group: dict[Hashable, set[Hashable]] = {}
    for patient, group in zip(patients, groups, strict=True):
        of_group.setdefault(group, set()).add(patient)
    group, joined = max(of_group.items(), key=lambda item: len(item[1]))
    if len(joined) < _MANY:
        return []
    first = names[list(groups).index(group)]
    return [
        f"equal images join {len(joined)} patients into one group of {list(groups).count(group)} images, the first of "
        f"them {first}: if they are placeholders for missing images, remove them"
    ]


def describe_unknown(images: int, grouping: str = "similar images without one are grouped") -> list[str]:
    """Return a note on the number of images without a known patient, and on their groups, or none."""
    return [f"{plural(images, 'image has', 'images have')} no known patient: {grouping}"] if images else []


def alike_patients(patients: Iterable[str]) -> list[list[str]]:
    """Return the sets of names, each sorted, that differ only in case, hyphens or zeros: ``P-007`` and ``p7``."""
    spellings: dict[str, set[str]] = {}
    for patient in patients:
        joined = re.sub(r"(?<=[^\W\d_])[\s_.-]+(?=\d)", "", patient.casefold())
        spellings.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", joined), set()).add(patient)
    return [sorted(names) for names in spellings.values() if len(names) > 1]


def describe_alike(column: str, patients: Iterable[str]) -> list[str]:
    """Return a note on the values of a column that may name one patient, see ``alike_patients``."""
    alike = [" and ".join(names) for names in alike_patients(patients)]
    if not alike:
        return []
    counted = plural(len(alike), f"group in {column} has", f"groups in {column} have")
    return [
        f"{counted} several spellings ({listed(sorted(alike))}), which count as different groups: write them alike if "
        "they are the same"
    ]
