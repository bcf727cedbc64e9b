"""Data sets before they are split: opened, decoded for the audit, grouped and audited."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.decoded_files import write_images
from trainables.core.data.decode.dicom import Window
from trainables.core.data.decode.images import SIDE
from trainables.core.data.decode.masks import surveyed_masks
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.decode.survey import Survey, surveyed_images
from trainables.core.data.grades import Ordered, graded
from trainables.core.data.labels import label_sets
from trainables.core.data.odd_images import OddImages, find_odd_images
from trainables.core.data.readers.image_files import describe_unread
from trainables.core.data.readers.open_source import check_classes, grouped_by_name, open_source
from trainables.core.data.readers.patient_names import describe_joined, describe_largest, describe_unknown
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.source import Source, images_fingerprint, source_fingerprint
from trainables.core.data.splits.audit import AUDIT_VERSION, Audit, audit_images, describe_raised
from trainables.core.data.splits.copies import COPIES_VERSION, DETAIL_SIDE, find_copies
from trainables.core.data.splits.group_file import grouped_by_file
from trainables.core.data.splits.groups import Grouping, exact_duplicates, group_by_similarity, joined
from trainables.core.data.splits.pairs import Pair
from trainables.core.data.splits.splits import Items
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store


@dataclass(frozen=True)
class OpenedDataset:
    """A data set before its audit.

    Attributes:
        source: Encoded images.
        data: Data set without splits, with the groups of the source.
        bad: Reason why an image cannot be used, by index.
        survey: Survey of the encoded images.
        odd: Images that are blank, inverted, or of another depth.
        images: SHA-256 over the usable images, whatever their order and labels.
    """

    source: Source
    data: Dataset
    bad: Mapping[int, str]
    survey: Survey
    odd: OddImages
    images: str

    @property
    def usable(self) -> NDArray[np.int64]:
        """Sorted indices of the images that can be used."""
        return np.setdiff1d(np.arange(len(self.source)), np.array(sorted(self.bad), dtype=np.int64))


def inspect(
    place: str,
    *,
    table: LabelTable | None = None,
    grouping: Grouping | None = None,
    window: Window | None = None,
    slicing: Slicing | None = None,
    ordered: Ordered = None,
    store: Path | None = None,
    cache_size: int | None = None,
    on_open: Callable[[Source], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Open and audit a data set without refusing bad images and without splitting it. Arguments as in ``prepare``."""
    grouping = grouping or Grouping()
    opened = open_dataset(place, table, grouping, window, slicing, store, cache_size, on_open)
    graded(opened.data, ordered)  # refuses an unknown order before the audit
    data = audited(opened, grouping.threshold, progress)
    notes = [
        *reading_notes(opened.source),
        *grouping_notes(opened.source, data, grouping.threshold),
        *opened.odd.notes(opened.source.names),
    ]
    if (opened.source.published[opened.usable] == "test").all():
        notes.append("all usable images are in the published test split, so there is none to train on")
    return graded(dataclasses.replace(data, notes=tuple(notes)), ordered)


def reading_notes(source: Source) -> list[str]:
    """Return notes on how a data set was understood, and on the files that were not read."""
    return [*source.notes, *_patient_notes(source), *([describe_unread(source.unread)] if source.unread else [])]


def _patient_notes(source: Source) -> list[str]:
    """Return notes on the patients in use, and on the images without one."""
    if source.groups_given:
        unknown = np.setdiff1d(source.without_patient, sorted(source.unreadable))
        return [*describe_unknown(len(unknown)), *describe_largest(source.groups.tolist())]
    if len(np.unique(source.groups)) < len(source):
        return ["no patient is known: images of one file, and similar images, are grouped"]
    return []


def grouping_notes(source: Source, data: Dataset, threshold: float | None) -> list[str]:
    """Return notes on the groups that were found or joined.

    Args:
        source: The data set as it was opened.
        data: The audited data set.
        threshold: Threshold given by the user, or None.
    """
    if source.groups_given:
        known = np.setdiff1d(np.arange(len(source)), source.without_patient)
        names = [source.names[index] for index in known]
        return describe_joined(source.groups[known].tolist(), data.groups[known].tolist(), names)
    return describe_raised(data.audit) if data.audit and threshold is None else []


def open_dataset(
    place: str,
    table: LabelTable | None,
    grouping: Grouping,
    window: Window | None,
    slicing: Slicing | None,
    store: Path | None,
    cache_size: int | None,
    on_open: Callable[[Source], None] | None,
    *,
    one_class: bool = False,
) -> OpenedDataset:
    """Open a data set and decode it for the audit. Arguments as in ``prepare``; ``one_class`` allows a single class.

    Raises:
        DataError: There is no usable image or a single class, or several columns could be the group.
    """
    cache = Store(store or default_store(), cache_size)
    if table is not None and grouping.column is not None:
        table, grouping = dataclasses.replace(table, group=grouping.column), dataclasses.replace(grouping, column=None)
    source = open_source(place, grouping.column, grouping.pattern, cache, table, slicing)
    if grouping.file is not None:
        source = grouped_by_file(source, Path(grouping.file))
    source = _grouped(source, grouping, place)
    if source.unclear_groups and not source.groups_given and grouping.threshold is None:
        if not grouping.older:
            raise DataError(source.unclear_groups)
        note = f"no column groups the images, as in the older version that began this: {source.unclear_groups}"
        source = dataclasses.replace(source, notes=(*source.notes, note))
    if not one_class:
        check_classes(source, place)
    if on_open is not None:
        on_open(source)
    source, digests = source.read_all()
    fingerprint = source_fingerprint(source, digests)
    masks = surveyed_masks(source, fingerprint, cache)
    survey = surveyed_images(source, fingerprint, cache, window)
    data = Dataset(
        place=place,
        table=table,
        fingerprint=fingerprint,
        class_names=masks.format.class_names if masks else source.class_names,
        labels=source.labels,
        groups=source.groups,
        patients=source.groups if _has_patients(source) else None,
        splits={},
        pixel_format=dataclasses.replace(survey.pixel_format, slicing=source.slicing),
        mask_format=masks.format if masks else None,
        bad_masks=frozenset(masks.bad) if masks else frozenset(),
        store=store,
        cache_size=cache_size,
    )
    pixels, undecodable = data.decoded(SIDE, source)
    data = dataclasses.replace(data, undecodable=frozenset(undecodable))
    unlabelled = {int(index): "has no label" for index in np.flatnonzero(label_sets(source.labels) < 0)}
    # What the cache keeps of unreadable images may be an earlier reason, of a table that was corrected since.
    bad = {**unlabelled, **(masks.bad if masks else {}), **undecodable, **source.unreadable}
    check_any_usable(source, place, bad)
    usable = np.setdiff1d(np.arange(len(source)), np.array(sorted(bad), dtype=np.int64))
    odd, images = find_odd_images(pixels, usable, survey), images_fingerprint(digests[row] for row in usable)
    return OpenedDataset(source, data, bad, survey, odd, images)


def _has_patients(source: Source) -> bool:
    """Return True if groups are patients, at least one of them with several images."""
    return source.groups_given and len(np.unique(source.groups)) < len(source)


def check_any_usable(source: Source, place: str, bad: Mapping[int, str]) -> None:
    """Raise DataError if every image is bad."""
    if len(bad) == len(source):
        raise DataError(f"{place} has no usable image; the first one, {source.names[0]}: {bad[0]}")


def _grouped(source: Source, grouping: Grouping, place: str) -> Source:
    """Return the source with groups by the usual pattern, if nothing else gives groups and every file name matches.

    A threshold of similarity replaces the groups that the data set gives.
    """
    if grouping.threshold is not None:
        return dataclasses.replace(source, groups=np.arange(len(source)), has_patient=(), patients=())
    if grouping.older:
        source = _grouped_as_before(source)
    pattern = grouping.usual_pattern
    if pattern is None or source.groups_given:
        return source
    if not source.files or not all(re.search(pattern, file) for file in source.files):
        return source
    named = grouped_by_name(source, pattern, place)
    return _grouped_as_before(named) if grouping.older else named


def _grouped_as_before(source: Source) -> Source:
    """Return the source as older versions grouped it, which joined no images without a known patient."""
    unknown = len(source.without_patient) if source.groups_given else 0
    several = source.slicing is not None or len(np.unique(source.groups)) < len(source)
    return dataclasses.replace(
        source,
        has_patient=[source.groups_given or several] * len(source),
        notes=(*source.notes, *describe_unknown(unknown, "each such file is a group of its own")),
    )


def audited(opened: OpenedDataset, threshold: float | None, progress: Callable[[float], None] | None) -> Dataset:
    """Return the data set with its final groups and its audit, which is made once per node."""
    source, data = opened.source, opened.data
    compared = np.setdiff1d(opened.usable, np.array(sorted(opened.odd.blank), dtype=np.int64))  # those look all alike
    pixels = data.images(SIDE)

    def report(share: float) -> None:
        if progress is not None:
            progress(share)

    def write(folder: Path) -> None:
        # Copies take most of the audit's time, and known patients are not joined by them.
        apart = np.intersect1d(opened.usable, source.without_patient)
        copies = _copies(opened, apart, lambda share: report(share / 2)) if len(apart) > 1 else ()
        found = group_by_similarity(
            pixels, compared, label_sets(source.labels), threshold, copies, lambda share: report((1 + share) / 2)
        )
        similar = np.arange(len(source)) + len(source)  # no group has so high a number
        similar[apart] = found.groups[apart]
        groups = joined(joined(source.groups, similar), exact_duplicates(pixels, compared))
        items = Items(source.labels, groups, source.published, source.class_names)
        audit = audit_images(items, found, source.groups_given, pixels, source.names, opened.bad, opened.odd.blank)
        np.save(folder / "groups.npy", groups)
        (folder / "audit.json").write_text(json.dumps(audit.to_dict()))

    def read(folder: Path) -> Dataset:
        audit = Audit.from_dict(json.loads((folder / "audit.json").read_text()))
        return dataclasses.replace(data, groups=np.load(folder / "groups.npy"), audit=audit)

    known = [source.groups.tolist(), source.without_patient.tolist()]
    listed = [list(source.names), sorted(opened.bad.items())]  # the audit has names and reasons
    digest = hashlib.sha256(json.dumps([*known, *listed]).encode()).hexdigest()[:16]
    key = f"audit-{data.images_key(SIDE)}-{digest}-{threshold or 'auto'}-v{AUDIT_VERSION}"
    return data.open_store().read(key, write, read, 100 * len(source))


def _copies(opened: OpenedDataset, among: NDArray[np.int64], progress: Callable[[float], None]) -> tuple[Pair, ...]:
    """Return the pairs of copies, which are searched once per node, whatever the threshold of similarity.

    The images are decoded for the search and removed, since nothing else uses them.
    """

    def write(folder: Path) -> None:
        file = folder / "detail.npy"
        write_images(opened.source, file, DETAIL_SIDE, opened.data.pixel_format, None)
        copies = find_copies(np.load(file, mmap_mode="r"), among, progress)
        file.unlink()
        (folder / "copies.json").write_text(json.dumps([dataclasses.asdict(pair) for pair in copies]))

    def read(folder: Path) -> tuple[Pair, ...]:
        return tuple(Pair(**pair) for pair in json.loads((folder / "copies.json").read_text()))

    part = hashlib.sha256(among.tobytes()).hexdigest()[:16] if len(among) < len(opened.usable) else ""
    key = f"copies-{opened.data.images_key(SIDE)}{part and '-'}{part}-v{COPIES_VERSION}"
    needed = len(opened.source) * opened.data.pixel_format.channels * DETAIL_SIDE**2
    return opened.data.open_store().read(key, write, read, needed, needed=True)
