"""Columns of published splits: recognised, or refused if they look like splits but are not understood."""

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from trainables.core.data.readers.untrusted_files import listed, printable
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError

Row = Mapping[str, str]

SPLIT_COLUMNS = "split fold subset partition"
# Words in the names of columns that are often splits, even if few of their values say so.
_OFTEN_SPLITS = frozenset({"cohort", "dataset", "partition", "set", "split", "subset"})
_NUMBERED = frozenset({"partition", "set", "split", "subset"})  # in which 0, 1 and 2 may stand for splits
_FOLDS = frozenset({"fold", "folds", "kfold", "cvfold"})  # whose numbers are no splits
# Words in values. The sure ones are hardly ever about something else; others may be, such as "external fixation".
_SURE_WORDS = frozenset(
    [
        *("derivation", "dev", "development", "discovery", "eval", "evaluation", "holdout", "replication", "test"),
        *("testing", "train", "training", "val", "validate", "validation"),
    ]
)
_WORDS = _SURE_WORDS | {"external", "internal", "tuning", "unseen"}
_FILLERS = frozenset({"cohort", "data", "dataset", "group", "sample", "set", "split", "subset"})
_SHORT_WORDS = frozenset({"false", "in", "out", "t", "te", "tr", "trn", "true", "ts", "tst", "v", "va"})
_MOST_SPLITS, _MOST_NUMBERS = 6, 3
_FLAG = re.compile(
    r"((is|in)[ _-]?)?((external|internal)[ _-]?)?(train|training|test|testing|val|validation|hold[ _-]?out)"
    r"([ _-]?(set|split|cohort))?|(is|in)[ _-]?valid([ _-]?set)?|(is[ _-]?)?external([ _-]?(set|cohort))?"
)
_CHOICE = re.compile(
    r"(is[ _-]?)?(accepted|discard(ed)?|drop(ped)?|duplicated?|excluded?|ignored?|included?|invalid|keep|kept|"
    r"omit(ted)?|reject(ed)?|removed?|selected|skip(ped)?|unusable|usable|used?)|valid"
)
_MARKS = frozenset({"0", "1", "f", "false", "n", "no", "t", "true", "x", "y", "yes"})


def known_splits(
    columns: Sequence[str], rows: Sequence[Row], place: str, asked: str | None = None, option: str = ""
) -> list[str]:
    """Return the columns known as the split or, if there are none, those with nothing but names of several splits.

    Args:
        columns: Columns without another use.
        rows: Rows of the table.
        place: Name of the table, for messages.
        asked: Column that the user named, or None.
        option: Option that names a column, for messages; "" if there is none.

    Raises:
        DataError: There is no such column, but one looks like the split and is not understood, and the user named none.
            Or a column of a known name looks so.
    """
    values = {name: {row[name].lower() for row in rows} - {""} for name in columns}
    named = [name for name in columns if re.sub(r"[^a-z0-9]", "", name.lower()) in SPLIT_COLUMNS.split()]
    understood = [name for name in named if values[name] and values[name] <= SPLIT_NAMES.keys()]
    found = understood or [name for name in columns if _holds_several_splits(values[name])]
    suspects = [name for name in (named if found else columns) if name not in found]
    partly = {name for name in columns if any(not row[name] for row in rows)}
    unclear = [
        name
        for name in suspects
        if not is_split_flag(name) and _looks_like_split(name, values[name], is_partly_empty=name in partly)
    ]
    if unclear and asked is None:
        others = sorted(value for value in {row[unclear[0]] for row in rows} if value.lower() not in SPLIT_NAMES)
        raise DataError(
            f"column {unclear[0]} of {place} must hold one of {', '.join(SPLIT_NAMES)}, but has "
            f"{listed([value or 'empty cells' for value in others])}: correct them"
            f"{f', name another column with {option}' * bool(option)}, or rename the column if it is no published split"
        )
    return found


def folder_splits(files: Sequence[Path]) -> list[str]:
    """Return the split that the first folder of each path is named after, or "" for none or if all have the same."""
    splits = [SPLIT_NAMES.get(file.parts[0].lower(), "") if len(file.parts) > 1 else "" for file in files]
    return splits if len({*splits} - {""}) > 1 else [""] * len(splits)


def check_every_split(splits: Mapping[str, str], what: str, remedy: str) -> None:
    """Raise DataError if some names give a split and others do not, whose images may be meant for a test.

    Args:
        splits: The split of each name, or "".
        what: What must give a split, in words.
        remedy: What the user can do.
    """
    unnamed = [name for name, split in splits.items() if not split]
    if 0 < len(unnamed) < len(splits):
        raise DataError(
            f"{what} must give a split (one of {', '.join(SPLIT_NAMES)}), as others do, but that of "
            f"{printable(unnamed[0])} does not: {remedy}"
        )


def check_no_flag(columns: Sequence[str], rows: Sequence[Row], place: str) -> None:
    """Raise DataError if a column looks like a published split in another form: ``is_test``, or -1 for a fold."""
    flags = [
        name for name in columns if (is_split_flag(name) and _is_marked(name, rows)) or _holds_out_rows(name, rows)
    ]
    if flags:
        raise DataError(
            f"column {flags[0]} of {place} looks like a published split: write train or test into a column split, or "
            "rename it if it is not one"
        )


def check_no_choice(columns: Sequence[str], rows: Sequence[Row], place: str) -> None:
    """Raise DataError if a column seems to say which rows are to be left out, such as ``excluded``."""
    choices = [name for name in columns if _CHOICE.fullmatch(name.lower()) and _is_marked(name, rows)]
    if choices:
        raise DataError(
            f"column {choices[0]} of {place} looks like a choice of images, but all rows are used: delete the rows "
            "that are not meant, or rename the column"
        )


def is_split_flag(column: str) -> bool:
    """Return True for names such as ``is_test``."""
    return _FLAG.fullmatch(column.lower()) is not None


def _is_marked(column: str, rows: Sequence[Row]) -> bool:
    values = {row[column].lower() for row in rows}
    return len(values) > 1 and values - {""} <= _MARKS


def _holds_several_splits(values: Set[str]) -> bool:
    return values <= SPLIT_NAMES.keys() and len({SPLIT_NAMES[value] for value in values}) > 1


def _holds_out_rows(column: str, rows: Sequence[Row]) -> bool:
    """Return True for numbered folds or splits with something else for some rows, such as -1 for a held-out test."""
    name, values = words_of_name(column), {row[column].lower() for row in rows}
    if not (name & (_FOLDS | _NUMBERED) and any(map(str.isdigit, values))):
        return False
    marked = any(re.fullmatch(r"-\d+", value) or _mentioned({value}) & _WORDS for value in values)
    return marked or bool(name & _FOLDS and "" in values)


def words_of_name(column: str) -> set[str]:
    """Return the words in the name of a column, in lower case: of ``PatientID`` and ``patient_id``, two."""
    return set(re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower()))


def _mentioned(values: Set[str]) -> set[str]:
    words = (re.findall("[a-z]+", re.sub("h[eo]ld[ _-]?out", "holdout", value)) for value in values)
    return {word for of_value in words for word in of_value}


def _looks_like_split(column: str, values: Set[str], *, is_partly_empty: bool) -> bool:
    """Return True if a column seems to divide the images into splits, although some of its values name none."""
    name, mentioned = words_of_name(column), _mentioned(values)
    if name == {"split"} and mentioned and not re.search(r"\d", str(values)):
        return True
    if len(values) == 1:
        return is_partly_empty and bool(name & _OFTEN_SPLITS) and values <= SPLIT_NAMES.keys()
    if name & {*SPLIT_COLUMNS.split()} and mentioned & SPLIT_NAMES.keys():
        return True
    if not 0 < len(values) <= _MOST_SPLITS:
        return False
    if name & _OFTEN_SPLITS and (mentioned & _WORDS or values <= _SHORT_WORDS):
        return True
    if name & _NUMBERED and len(values) <= _MOST_NUMBERS and all(value.isdigit() for value in values):
        return True
    only_splits = mentioned <= _WORDS | _FILLERS and all(_mentioned({value}) & _WORDS for value in values)
    return bool(values & {"train", "training"}) or bool(only_splits and mentioned & _SURE_WORDS)
