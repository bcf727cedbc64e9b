"""Signs that folders are not what they are taken for: masks, splits or whole data sets in the place of classes."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainables.core.data.readers.folders.mask_signs import (
    IMAGES,
    MASKS,
    check_mask_folders,
    check_mask_names,
    joined,
    shown,
)
from trainables.core.data.readers.image_files import is_left_out
from trainables.core.data.source import SPLIT_NAMES
from trainables.core.errors import DataError
from trainables.core.plural import plural

# Folders beside those of the classes, and folders that contain those of the classes.
_NO_CLASSES = frozenset(
    [
        *("archive", "assets", "backup", "backups", "checkpoints", "doc", "docs", "documentation", "duplicates"),
        *("exclude", "excluded", "figs", "figures", "ignore", "ignored", "logs", "mlartifacts", "mlruns", "newfolder"),
        *("notebooks", "output", "outputs", "plots", "predict", "prediction", "predictions", "previews", "results"),
        *("runs", "screenshots", "temp", "testresults", "thumbnails", "thumbs", "tmp", "todo", "unannotated"),
        *("unclassified", "unk", "unknown", "unlabeled", "unlabelled", "unsorted", "unsup", "untitledfolder"),
    ]
)
_CONTAINERS = frozenset({"data", "database", "dataset", "datasets", "files", "input", "inputs", "raw", "rawdata"})
_SPLITS = frozenset(SPLIT_NAMES)
_TABLES = frozenset({".csv", ".tsv", ".xls", ".xlsx"})
# Words of `train-images`, `TrainImages` and `TRAIN_IMAGES`, and of `trainset`.
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")
_SPLIT_AND_WORD = re.compile(rf"({'|'.join(SPLIT_NAMES)})s?(bilder|data|daten|dataset|folder|images?|imgs?|set)")
_COPY = re.compile(
    r"(?P<name>.+?)([ _-]+(copy|kopie|copie|aug(mented)?|backup|cropped|original|(pre)?processed|resized?)"
    r"( \(?\d+\)?)?| \(\d+\))",
    re.IGNORECASE,
)
# Folders of patients or studies: numbered words, numbers of three digits, dates, UIDs and hashes. Classes of ImageNet
# look like n01440764.
_PATIENT = re.compile(
    r"(case|exam|id|mrn|participant|pat|patient|pid|series|study|sub|subj|subject|visit|volunteer)[ _-]*\d+[a-z]?|"
    r"(?!n\d{8}$)[a-z]{0,4}[ _-]?\d{3,}|\d{4}-\d\d-\d\d|\d+(\.\d+){3,}|(?=.*\d)[0-9a-f-]{16,}",
    re.IGNORECASE,
)
_FEWEST_PATIENTS = 3
# Folders above those of the classes.
_PART = re.compile(r"(batch|cent(er|re)|cohort|dataset|fold|hospital|part|site|split)[ _-]?(\d+|[a-z])", re.IGNORECASE)


def check_class_folders(
    root: Path, splits: Sequence[str], class_names: Sequence[str], places: Sequence[tuple[str, ...]]
) -> None:
    """Raise DataError if the folders in the place of classes are something else, or if there are fewer than two.

    Args:
        root: Folder of the data set.
        splits: Names of the folders of splits above the class folders.
        class_names: Names of the class folders.
        places: Parts of each image's path, from its class folder to its file name.
    """
    kinds = {joined(name) for name in class_names}
    if kinds & MASKS and kinds <= IMAGES | MASKS:
        raise DataError(
            f"{root} looks like images with masks, not like classes ({', '.join(class_names)}): name the two folders "
            "images and masks, without folders of splits above them"
        )
    _check_split_names(root, class_names)
    _check_other_splits(root, splits, class_names)
    _check_patients(root, class_names)
    subfolders: dict[str, set[str]] = {name: set() for name in class_names}
    for parts in places:
        if len(parts) > 1 and parts[0] in subfolders:
            subfolders[parts[0]].add(parts[1] if len(parts) > 2 else "")
    _check_nested_splits(root, subfolders, places)
    _check_number(root, splits, subfolders, len(places))
    check_mask_folders(root, subfolders)
    _check_copied_classes(root, subfolders)
    _check_equal_subfolders(root, subfolders)
    _check_shared_subfolders(root, subfolders)
    _check_other_folders(root, subfolders)
    check_mask_names(root, places)


def _check_split_names(root: Path, class_names: Sequence[str]) -> None:
    """Refuse folders like ``train_images`` and ``test_images``, whose labels lie in a table or nowhere."""
    words = {name: [part for word in _WORD.findall(name) for part in _parts(word.lower())] for name in class_names}
    others = {name: tuple(word for word in words[name] if word not in _SPLITS) for name in class_names}
    splits = {name: {SPLIT_NAMES[word] for word in words[name] if word in _SPLITS} for name in class_names}

    def is_twin(name: str, other: str) -> bool:
        return bool(splits[name] and splits[other]) and others[name] == others[other] and splits[name] != splits[other]

    same = [name for name in class_names if any(is_twin(name, other) for other in class_names)]
    only_images = class_names and all(others[name] and set(others[name]) <= IMAGES for name in class_names)
    if same or only_images:
        named = shown(class_names if only_images else same)
        raise DataError(
            f"the folders of {root} are named after images or splits ({named}), not after classes: {_remedy(root)}"
        )


def _parts(word: str) -> list[str]:
    found = _SPLIT_AND_WORD.fullmatch(word)
    return [word] if found is None else [found[1], found[2]]


def _check_other_splits(root: Path, splits: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse ``external/ill`` beside ``train/ill``: its images would have no label."""
    for name in sorted(set(_folders(root)) - {*splits}) if splits else ():
        classes = sorted({*_folders(root / name)} & {*class_names})
        if classes:
            raise DataError(
                f"{name} in {root} has folders of classes ({shown(classes)}) like {shown(splits)}, but its name stands "
                f"for no split: rename it to one of {', '.join(SPLIT_NAMES)}, or move it out of the data set"
            )


def _check_patients(root: Path, class_names: Sequence[str]) -> None:
    """Refuse folders of patients or studies in the place of classes: ``patient_01``, ``patient_02``, ... or UIDs."""
    if len(class_names) >= _FEWEST_PATIENTS and all(map(_PATIENT.fullmatch, class_names)):
        raise DataError(
            f"the folders of {root} ({shown(class_names)}) look like patients or studies, not like classes: name the "
            "classes in a table with --labels FILE, or put them above these folders; rename these if they are classes"
        )


def _remedy(root: Path) -> str:
    """Return the way to give labels, naming the tables beside the folders."""
    tables = sorted(file.name for file in root.iterdir() if file.suffix.lower() in _TABLES and file.is_file())
    if tables:
        return f"if their classes are in {shown(tables)}, pass that table with --labels FILE"
    return "make one folder for each class, or name the classes in a table with --labels FILE"


def _check_nested_splits(root: Path, subfolders: dict[str, set[str]], places: Sequence[tuple[str, ...]]) -> None:
    """Refuse folders of splits one level too low: ``ill/train``, or ``chest_xray/train/ill``."""
    for name, below in subfolders.items():
        splits = sorted(folder for folder in below if folder.lower() in _SPLITS)
        if len({SPLIT_NAMES[folder.lower()] for folder in splits}) < 2:
            continue
        if all(len(parts) <= 3 for parts in places if parts[0] == name):
            remedy = f"put the splits above the classes, as in {splits[0]}/{name}"
        else:
            remedy = f"it looks like a data set of its own: pass {root / name} as the data set"
        raise DataError(
            f"{name} in {root} contains folders of splits ({shown(splits)}), not images of a class: {remedy}"
        )


def _check_number(root: Path, splits: Sequence[str], subfolders: dict[str, set[str]], images: int) -> None:
    """Refuse fewer than two classes with a hint at folders that lie a level too deep, or at images without a folder."""
    rule = f"a classification needs at least two classes, but {root} has {len(subfolders)}"
    if len(subfolders) > 1 or not images:
        return
    if not subfolders:
        where = f"in {shown(splits)}" if splits else "in it"
        counted = plural(images, "image lies", "images lie")
        raise DataError(f"{rule}: {counted} directly {where}, without class folders: {_remedy(root)}")
    (name,) = subfolders
    parent = root / splits[0] / name if splits else root / name
    while len(below := _folders(parent)) == 1 and "" not in subfolders[name]:
        parent = parent / below[0]
    if len(below) < 2 or "" in subfolders[name]:
        raise DataError(f"{rule}, {name}: if it is a class, add the others; {_remedy(root)}")
    remedy = (
        f"move the folders in {parent} up, directly below {splits[0]}" if splits else f"pass {parent} as the data set"
    )
    raise DataError(f"{rule}, {name}, and the folders {shown(below)} lie below it: {remedy}")


def _folders(parent: Path) -> list[str]:
    return sorted(child.name for child in parent.iterdir() if child.is_dir() and not is_left_out(child))


def _check_equal_subfolders(root: Path, subfolders: dict[str, set[str]]) -> None:
    first, *others = subfolders.values() or [set()]
    if others and len(first) > 1 and "" not in first and all(other == first for other in others):
        raise DataError(
            f"every class folder in {root} ({shown(sorted(subfolders))}) has the same subfolders "
            f"({shown(sorted(first))}), so they look like several data sets: pass one of them as the data set, "
            "or move the images directly into the class folders"
        )


def _check_other_folders(root: Path, subfolders: dict[str, set[str]]) -> None:
    """Refuse ``docs`` beside the classes, and the classes below ``data`` beside anything else."""
    for name, below in subfolders.items():
        if joined(name) in _CONTAINERS and len(below) > 1 and "" not in below:
            raise DataError(
                f"{name} in {root} has only folders ({shown(sorted(below))}), so it looks like the data set itself and "
                f"not like a class: pass {root / name} as the data set, or rename it if it is a class"
            )
    others = [name for name in subfolders if joined(name) in _NO_CLASSES]
    containers = [name for name in subfolders if joined(name) in _CONTAINERS | IMAGES]
    if len(subfolders) - len(others + containers) > 1:  # the rest are classes
        others += containers
    if 0 < len(others) < len(subfolders):
        raise DataError(
            f"{shown(others)} in {root} has images, but its name does not look like that of a class: move it out of "
            "the data set, or rename it if it is a class"
        )


def _check_copied_classes(root: Path, subfolders: dict[str, set[str]]) -> None:
    """Refuse copies in the place of a class: ``ill (1)`` beside ``ill``, or ``augmented/ill``, ``augmented/well``."""
    for name, below in subfolders.items():
        copy = _COPY.fullmatch(name)
        if copy and copy["name"] in subfolders:
            raise DataError(
                f"{name} in {root} looks like a copy of the class {copy['name']}: merge the two, or rename one of them"
            )
        copies = sorted((below & subfolders.keys()) - {name})
        if len(copies) > 1:
            raise DataError(
                f"{name} in {root} has subfolders named like the other classes ({shown(copies)}), so it looks like a "
                "second data set, not like a class: move it out of the data set"
            )


def _check_shared_subfolders(root: Path, subfolders: dict[str, set[str]]) -> None:
    """Refuse patients or sites above the classes: ``patient1/ill``, ``patient1/well``, ``patient2/ill``."""
    if subfolders and all(_PART.fullmatch(name) and "" not in below for name, below in subfolders.items()):
        raise DataError(
            f"the folders of {root} ({shown(sorted(subfolders))}) look like parts of the data set, not like classes: "
            "put the classes above, or name classes and sites or folds in a table with --labels FILE"
        )
    counts = Counter(below for names in subfolders.values() for below in names)
    if 1 < len(counts) < len(subfolders) and "" not in counts and min(counts.values()) > 1:
        raise DataError(
            f"the folders of {root} ({shown(sorted(subfolders))}) share their subfolders ({shown(sorted(counts))}), "
            "which look like the classes: put the classes above, or move the images directly into the class folders"
        )
