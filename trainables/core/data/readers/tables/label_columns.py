"""Choice of the columns of a table of labels."""

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from trainables.core.data.fact import Fact
from trainables.core.data.readers.patient_names import (
    check_patients,
    count_patients,
    describe_unused,
    name_the_same,
    names_patient,
)
from trainables.core.data.readers.tables.named_images import NamedImages
from trainables.core.data.readers.tables.split_columns import (
    SPLIT_COLUMNS,
    Row,
    check_no_choice,
    check_no_flag,
    known_splits,
    words_of_name,
)
from trainables.core.data.readers.untrusted_files import listed
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError
from trainables.core.plural import plural

# Names of columns, in lower case and reduced to letters and digits.
_RECOGNISED = {
    "image": "image images imageid imagename imageindex imagepath imagefile img imgid imgname imgpath file filename "
    "filepath path idcode",
    "label": "label labels class classname diagnosis finding findinglabel findinglabels category target dx",
    "group": "patient patientid patientno patientnumber subject subjectid subjectno person personid participant "
    "participantid mrn medicalrecordnumber",
    "split": SPLIT_COLUMNS,
}
# Used as the group if no column is known as the patient.
_FURTHER_PATIENTS = (
    "patientname patientidentifier patientkey patientcode patientuid patientnr patid patno patnr pid subjectnumber "
    "subjectcode"
)
# Used as the group if there is none of those either. One patient may have several.
_VISITS = (
    "caseid caseno casenumber studyid studyuid studyinstanceuid accession accessionnumber examid visitid encounterid"
)
# Used as the group if there is none of those either.
_SPECIMENS = "lesionid noduleid tumorid tumourid specimenid slideid biopsyid"
# Used as the label if no column is known as it.
_GRADES = "grade gradelabel grading stage staging severity severitylevel klgrade drgrade"


@dataclass(frozen=True)
class LabelTable:
    """Tables with a row per image, and the columns to use. None leaves a column to be recognised by its name.

    Attributes:
        files: Paths of the tables, also relative to the data folder. If there are several, each is named after its
            split, as in ``train.csv`` and ``test.csv``.
        image: Column of file names, with or without folders and suffix.
        label: Column of class names; values like ``A|B`` give an image several labels. Or columns of 0 and 1, one for
            each label, separated by commas.
        group: Column of patients. Images with equal values stay together; an empty value names no patient.
        split: Column of published splits, such as ``train`` and ``test``.
    """

    files: tuple[str, ...]
    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from ``dataclasses.asdict``, also after JSON."""
        return cls(**{**raw, "files": tuple(raw["files"])})


# Words in names of columns that may name patients, and words that say that they do not.
_MAY_NAME_PATIENTS = re.compile("case|id|mrn|pat|patient.*|person|subject|subj")
_NO_PATIENTS = frozenset(
    [
        *("age", "bmi", "category", "class", "control", "date", "ethnicity", "frame", "gender", "grade", "group"),
        *("height", "image", "img", "label", "orientation", "position", "race", "series", "sex", "site", "size"),
        *("slice", "status", "study", "type", "weight"),
    ]
)


def known_as(role: str, column: str) -> bool:
    """Return True if a column's name is one of those recognised for a role, such as ``group``."""
    return _reduced(column) in _RECOGNISED[role].split()


def known_groups(columns: Sequence[str]) -> list[str]:
    """Return the columns known as the patient or, if there are none, as a visit, or else as a lesion or specimen."""
    tiers = (_RECOGNISED["group"], _FURTHER_PATIENTS, _VISITS, _SPECIMENS)
    found = ([name for name in columns if _reduced(name) in tier.split()] for tier in tiers)
    return next(filter(None, found), [])


def naming_groups(columns: Mapping[str, Sequence[str]], patients: int = 2) -> list[str]:
    """Return ``known_groups`` of the columns that name enough patients, so that an anonymised one hides no visits.

    Visits, lesions or specimens only stand in for an anonymised patient if some images share one.

    Args:
        columns: Name to N values.
        patients: Fewest patients that a column must name.
    """
    first, counts = known_groups(list(columns)), {name: count_patients(values) for name, values in columns.items()}
    joins = {name: counts[name] < sum(map(names_patient, values)) for name, values in columns.items()}
    return known_groups([name for name in columns if counts[name] >= patients and (name in first or joins[name])])


def groups_to_predict(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the known columns of images to predict, which may be of one patient, or of nobody who is named."""
    return naming_groups(columns, patients=1) or known_groups(list(columns))


def is_known_group(column: str) -> bool:
    """Return True if a column's name is that of a patient, a visit, a lesion or a specimen."""
    return bool(known_groups([column]))


def is_known_patient(column: str) -> bool:
    """Return True if a column's name is that of a patient, and not of a visit, a lesion or a specimen."""
    return known_as("group", column) or _reduced(column) in _FURTHER_PATIENTS.split()


def known_labels(columns: Sequence[str]) -> list[str]:
    """Return the columns known as the label or, if there are none, as a grade."""
    labels = [name for name in columns if known_as("label", name)]
    return labels or [name for name in columns if _reduced(name) in _GRADES.split()]


def _reduced(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())


def choose_columns(
    table: LabelTable, columns: Sequence[str], rows: Sequence[Row], images: NamedImages, place: str
) -> dict[str, str]:
    """Return the columns in use: ``image``, ``label`` and, if there are any, ``group`` and ``split``.

    Raises:
        DataError: A column that the user named does not exist, or none or several could be the right one.
    """
    chosen: dict[str, str] = {}
    for role in _RECOGNISED:
        asked = getattr(table, role)
        if asked is not None and asked not in columns:
            near = difflib.get_close_matches(asked, columns, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise DataError(f"--{role}-column must be one of {', '.join(columns)}, but got {asked!r}{hint}")
        asked_for = [getattr(table, other) for other in _RECOGNISED]
        free = [name for name in columns if name not in (*chosen.values(), *asked_for)]
        if role == "image":  # an image's identifier and its path may both be there
            named = [name for name in free if known_as(role, name)]
            found = sorted(named, key=lambda name: -sum(not images.find(row[name]).reason for row in rows))[:1]
        elif role == "split":
            found = known_splits(free, rows, place, asked, "--split-column")
        elif role == "group":
            found = naming_groups({name: [row[name] for row in rows] for name in free})
            found = found[:1] if name_the_same([[row[name] for row in rows] for name in found]) else found
            if asked is not None:
                check_patients(asked, (row[asked] for row in rows))
        else:
            found = known_labels(free)
        if asked is None and len(found) > 1:
            raise DataError(
                f"{place} has several columns that could be the {role} ({', '.join(found)}): pass --{role}-column"
            )
        if asked is not None or found:
            chosen[role] = asked or found[0]
        elif role in ("image", "label"):
            raise DataError(f"no column of {place} is known as the {role}: pass --{role}-column, {_one_of(columns)}")
    others = [name for name in columns if name not in chosen.values()]
    check_no_choice(others, rows, place)
    if "split" not in chosen:
        check_no_flag(others, rows, place)
    split = chosen.get("split")
    other = sorted({row[split] for row in rows} - {""}) if split else []
    other = [value for value in other if value.lower() not in SPLIT_NAMES]
    if other:
        raise DataError(f"--split-column must hold {_one_of(SPLIT_NAMES)}, but {split} has {listed(other)}")
    doubled = [name for name in chosen.values() if list(chosen.values()).count(name) > 1]
    if doubled:
        raise DataError(f"each column must have one meaning, but {doubled[0]} is named twice")
    return chosen


def describe_columns(chosen: Mapping[str, str], columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return notes: the columns in use and the others, and columns of patients that are not used."""
    used = ", ".join(f"{role} = {name}" for role, name in chosen.items())
    others = [name for name in columns if name not in chosen.values()]
    counts = {name: len({row[name] for row in rows}) for name in others}
    counted = ", ".join(f"{name} ({plural(count, 'value')})" for name, count in counts.items())
    group = chosen.get("group")
    known = known_groups([*others, *([group] if group else [])])
    unused = [name for name in known if name != group and count_patients(row[name] for row in rows) < 2]
    maybe = [name for name in others if 2 < counts[name] < len(rows) and _may_name_patients(name)]
    return [
        Fact(f"columns of the table: {used}" + (f"; others, which no model sees: {counted}" if others else "")),
        *(describe_unused(name, (row[name] for row in rows)) for name in unused),
        *(
            [f"column {chosen['image']} names the images, so it is not used to group them"]
            if is_known_group(chosen["image"]) and not group
            else []
        ),
        *(
            [
                f"column {maybe[0]} may name patients: if it does, --group-column {shlex.quote(maybe[0])} keeps their "
                "images together"
            ]
            if maybe and not group
            else []
        ),
    ]


def _may_name_patients(column: str) -> bool:
    words = words_of_name(column)
    may = any(map(_MAY_NAME_PATIENTS.fullmatch, words)) and not words & _NO_PATIENTS
    return may and not is_known_group(column)


def _one_of(names: Sequence[str] | Mapping[str, str]) -> str:
    return f"one of {', '.join(names)}"
