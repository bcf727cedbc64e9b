"""Preparation of a data set for training: audited, split, decoded and annotated with notes."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.audited_dataset import (
    audited,
    check_any_usable,
    grouping_notes,
    open_dataset,
    reading_notes,
)
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.crop import Regions
from trainables.core.data.decode.dicom import Window
from trainables.core.data.decode.images import SIDE
from trainables.core.data.decode.masks import describe_format
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.fact import Fact
from trainables.core.data.grades import Ordered, graded
from trainables.core.data.image_kind import kind_of
from trainables.core.data.patient_labels import describe_mixed_patients, healthy_class
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.source import Source
from trainables.core.data.splits.audit import Audit
from trainables.core.data.splits.folds import Folds, make_folds
from trainables.core.data.splits.groups import Grouping
from trainables.core.data.splits.splits import (
    RAREST,
    SHARES,
    Items,
    Splits,
    make_splits,
    missing_classes,
    twins_across,
)
from trainables.core.errors import DataError
from trainables.core.node_cache import default_store
from trainables.core.plural import plural

_SHOWN = 10
_MOST_CLASS_NOTES = 5
# Maps a split data set, its source and the indices of the usable images to their crop boxes.
FindRegions = Callable[[Dataset, Source, NDArray[np.int64]], Regions]


def prepare(
    place: str,
    *,
    sizes: Sequence[int],
    seed: int,
    split: str = "grouped",
    test_share: float = SHARES["test"],
    table: LabelTable | None = None,
    grouping: Grouping | None = None,
    window: Window | None = None,
    slicing: Slicing | None = None,
    healthy: str | None = None,
    ordered: Ordered = None,
    skip_bad_images: bool = False,
    folds: int | None = None,
    stratify_by: str = RAREST,
    roi: FindRegions | None = None,
    store: Path | None = None,
    cache_size: int | None = None,
    on_open: Callable[[Source], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Open, check, decode, audit and split a data set.

    Args:
        place: Data set, see ``open_source``.
        sizes: Sides in pixels to decode at.
        seed: Seed of the splits.
        split: How ``test`` is made, see ``make_splits``.
        test_share: Share of ``test`` if no test split was published.
        table: Table of the labels; None if the layout of the images gives them.
        grouping: The user's statement about which images belong together.
        window: Centre and width that replace those of DICOM files.
        slicing: Slices to take from NIfTI volumes; None for the default.
        healthy: Class without a disease; ignored if the data have no such class.
        ordered: Order of the classes if they are grades, see ``grades``.
        skip_bad_images: Skip unusable images instead of refusing the data set.
        folds: Number of folds for all images except ``test``; None for ``fit``, ``tune`` and ``select``.
        stratify_by: Class of a group that splits and folds are stratified by, see ``Items``.
        roi: Finds the boxes to crop images to; None for whole images. Groups and splits are those of whole images.
        store: Folder of the cache; None for the node's default.
        cache_size: Most bytes in the cache; None for the node's default.
        on_open: Called with the source once its files and labels are known, before any image is read.
        progress: Called with the share of the audit that is done.

    Raises:
        DataError: Names the bad images (at most ten), or the classes that are too small.
        StoreFullError: The decoded images exceed the cache's limit.
    """
    grouping = grouping or Grouping()
    opened = open_dataset(place, table, grouping, window, slicing, store, cache_size, on_open)
    graded(opened.data, ordered)  # refuses an unknown order before the audit
    source, bad = opened.source, {**opened.bad, **opened.odd.blank}
    if bad and not skip_bad_images:
        listing = (store or default_store()) / f"bad-images-{opened.data.fingerprint[:8]}.txt"
        raise DataError(_bad_images(source, bad, listing))
    check_any_usable(source, place, bad)
    usable = np.setdiff1d(np.arange(len(source)), np.array(sorted(bad), dtype=np.int64))
    data = audited(opened, grouping.threshold, progress)
    assert data.audit is not None
    items = Items(source.labels, data.groups, source.published, source.class_names, stratify_by)
    splits: Splits
    cv_folds: Folds = ()
    if folds is None:
        splits = make_splits(items, usable, seed, split, test_share=test_share)
    else:
        splits, cv_folds = make_folds(items, usable, seed, split, folds, test_share)
    divided = dataclasses.replace(
        data,
        splits=splits,
        folds=cv_folds,
        split=split,
        test_twins=twins_across(items, splits),
        healthy=healthy if healthy in source.class_names else None,
    )
    if roi is not None:
        divided = dataclasses.replace(divided, regions=roi(divided, source, usable))
    for size in sizes:
        divided.decoded(size, source)
        if source.masks:
            divided.decoded_masks(size, source)
    training = divided.splits[divided.training]
    kind = kind_of(divided.decoded(SIDE, source)[0], training, data.groups[training], opened.survey.sizes[training])
    notes = _notes(source, items, divided, data.audit)
    notes += grouping_notes(source, data, grouping.threshold)
    if bad:
        notes.append(Fact(f"{plural(len(bad), 'unusable image was', 'unusable images were')} left out"))
    notes += opened.odd.notes(source.names)
    if grouping.usual_pattern is not None and not source.groups_given and grouping.threshold is None:
        notes.append("file names do not match the space's pattern, so groups were found by similarity")
    return graded(dataclasses.replace(divided, notes=tuple(notes), kind=kind), ordered)


def _notes(source: Source, items: Items, divided: Dataset, audit: Audit) -> list[str]:
    notes = reading_notes(source)
    if divided.mask_format:
        notes.append(Fact(f"values of masks: {describe_format(divided.mask_format)}"))
    if source.synthetic:
        notes.append("synthetic data: phantoms, not patients; scores say nothing about real images")
    if "val" in source.published:
        parts = "folds" if divided.folds else "fit, tune and select"
        notes.append(Fact(f"the published val split was merged with train and divided into {parts}"))
    if divided.regions:
        used = np.concatenate(list(divided.splits.values()))
        whole = divided.regions.count_uncropped(used)
        rest = f"; not cropped, because it found almost nothing or the whole image: {whole}" if whole else ""
        cropped = f"images cropped to the region that a segmentation found: {len(used) - whole} of {len(used)}{rest}"
        notes.append(Fact(cropped))
    if divided.leak:
        notes.append(f"{divided.leak} (--split grouped avoids this)")
    notes += _notes_on_small_classes(missing_classes(items, divided.splits), audit.named)
    # Of several labels, a patient has those of any image, as the note on patients says.
    if audit.contradicting_groups and not (items.several and divided.patients is not None):
        notes.append(f"{audit.contradicting_groups} {audit.named} have images with different labels")
    if divided.patients is not None:
        used = np.concatenate(list(divided.splits.values()))
        healthy = healthy_class(divided.class_names, divided.healthy)
        notes += describe_mixed_patients(divided.labels[used], divided.patients[used], healthy, divided.class_names)
    return notes


def _notes_on_small_classes(missing: Mapping[str, Sequence[str]], named: str) -> list[str]:
    """Return one note for each class that some splits lack, or one for all of them if there are many."""
    notes = [f"{name} has too few {named}: it has no images in {', '.join(splits)}" for name, splits in missing.items()]
    if len(notes) <= _MOST_CLASS_NOTES:
        return notes
    first = ", ".join(list(missing)[:_MOST_CLASS_NOTES])
    splits = Counter(split for absent in missing.values() for split in absent)
    counts = ", ".join(f"{count} in {split}" for split, count in splits.items())
    more = len(missing) - _MOST_CLASS_NOTES
    return [f"{len(missing)} classes have too few {named} ({first} and {more} more): {counts} have no images"]


def _bad_images(source: Source, bad: Mapping[int, str], listing: Path) -> str:
    """Return the refusal in one line. A long list is written to a file."""
    names, rule = (
        source.names,
        "readable, not blank, with a mask of its size" if source.masks else "readable, labelled and not blank",
    )
    listed = "; ".join(f"{names[index]}: {bad[index]}" for index in sorted(bad)[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more, all in {listing}" if len(bad) > _SHOWN else ""
    listing.write_text("".join(f"{names[index]}: {bad[index]}\n" for index in sorted(bad)))
    return f"every image must be {rule}, but {len(bad)} are not ({listed}{more}): fix them or use --skip-bad-images"
