"""The flow of the data from files to partitions, a table of these, and the test set that would halve the interval."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from analysis.report.inputs import EnsembleInputs, SearchInputs
from analysis.report.page import Flow, Step, Table
from analysis.report.sections.wording import label_of
from analysis.statistics.subgroup_names import in_order, subgroups_by
from trainables.core.data.dataset import Dataset
from trainables.core.data.labels import membership
from trainables.core.plural import plural

_MOST_REASONS = 5
_MOST_VALUES = 12  # of a column that is shown


def data_flow(search: SearchInputs) -> Flow:
    """Return the flow diagram: files, excluded ones and why, groups, partitions."""
    data = search.data
    used = np.unique(np.concatenate(list(data.splits.values())))
    reasons = Counter(_short(reason) for reason in (data.audit.broken.values() if data.audit else ()))
    left = len(data.labels) - len(used)
    if other := left - sum(reasons.values()):
        reasons["in no partition (see the notes)"] = other
    excluded = [f"{count} {reason}" for reason, count in reasons.most_common(_MOST_REASONS) if count > 0]
    others = sum(count for _, count in reasons.most_common()[_MOST_REASONS:])
    excluded += [f"{others} for other reasons"] if others > 0 else []
    found, unlisted = len(data.labels), search.unlisted
    in_folder = [Step(f"{plural(found + unlisted, 'image')} found", (f"{unlisted} without a row in the table",))]
    listed = "with a row" if unlisted else "found"
    steps = [
        *(in_folder if unlisted else []),
        Step(f"{plural(found, 'image')} {listed}", tuple(excluded) if left > 0 else ()),
        Step(f"{plural(len(used), 'image')} used, {_units(search, used)}"),
    ]
    parts = tuple(
        f"{name}: {plural(len(rows), 'image')}, {_units(search, rows)}" for name, rows in search.data.splits.items()
    )
    shared = "" if share_groups(data) else " Partitions share no group."
    how = f"Images that were found, those that were excluded and why, and the partitions.{shared}"
    return Flow("From images to partitions", how, steps, parts)


def share_groups(data: Dataset) -> bool:
    """Return True if a group has images in several partitions."""
    by_part = [np.unique(data.groups[rows]) for rows in data.splits.values()]
    return len(np.unique(np.concatenate(by_part))) < sum(map(len, by_part))


def partition_table(search: SearchInputs) -> Table:
    """Count images, groups, patients and the images of each class in each partition."""
    data = search.data
    names = data.image_classes
    rows = []
    for name, indices in search.data.splits.items():
        has = membership(data.labels[indices], len(data.class_names)).sum(axis=0) if names else []
        patients = [] if data.patients is None else [str(len(np.unique(data.patients[indices])))]
        shares = [f"{count} ({count / max(len(indices), 1):.0%})" for count in has]
        rows.append([name, str(len(indices)), str(len(np.unique(data.groups[indices]))), *patients, *shares])
    headings = ["partition", "images", "groups", *(["patients"] if data.patients is not None else []), *names]
    missing = "" if search.metadata else " Age, sex and site are for you to add, or are shown if the data have them."
    counted = "Images of each class with their share of the partition." if names else "Images and groups."
    how = f"{counted}{missing}"
    return Table("Partitions", how, headings, rows, wrapped=True)


def characteristics(search: SearchInputs) -> dict[str, NDArray[np.str_]]:
    """Return the subgroup of each of N images by each column of few values."""
    used = np.concatenate(list(search.data.splits.values()))
    found = {column: np.array(subgroups_by(column, values)) for column, values in search.metadata.items()}
    return {column: names for column, names in found.items() if len(np.unique(names[used])) <= _MOST_VALUES}


def characteristics_table(search: SearchInputs) -> Table:
    """Count the images with each value of further columns in each partition; no rows without such columns."""
    splits, found, rows = search.data.splits, characteristics(search), list[list[str]]()
    for column, subgroups in found.items():
        for name in in_order(subgroups[np.concatenate(list(splits.values()))].tolist()):
            has = [subgroups[indices] == name for indices in splits.values()]
            rows.append([column, name, *(f"{one.sum()} ({one.mean():.0%})" if len(one) else "0" for one in has)])
    many = [column for column in search.metadata if column not in found]
    left = f" Columns of more than {_MOST_VALUES} values are left out: {', '.join(many)}." if many else ""
    return Table(
        "Characteristics of the partitions",
        "Images with each value of the further columns of the data, with their share of the partition. Columns that "
        f"may identify a person are left out.{left}",
        ("column", "value", *splits),
        rows,
    )


def halved_interval(search: SearchInputs, ensemble: EnsembleInputs) -> str:
    """Say how large a test set would halve the interval of the objective; empty without an interval."""
    test, name = ensemble.evaluation.by(search.metric)
    interval = test.ensemble.intervals.get(name)
    if interval is None:
        return ""
    images = len(search.data.splits["test"])
    return (
        f"The 95% interval of {label_of(search.metric)} is {interval[1] - interval[0]:.3f} wide with "
        f"{plural(test.groups, 'test group')} ({plural(images, 'image')}). About four times as many of the same kind, "
        f"{4 * test.groups} groups ({4 * images} images), would halve it."
    )


def _units(search: SearchInputs, rows: NDArray[np.int64]) -> str:
    data = search.data
    groups = plural(len(np.unique(data.groups[rows])), "group")
    return groups if data.patients is None else f"{groups}, {plural(len(np.unique(data.patients[rows])), 'patient')}"


def _short(reason: str) -> str:
    """Return the beginning of a reason, which is the same for files with the same defect."""
    return reason.partition(":")[0].partition("(")[0].strip()[:60]
