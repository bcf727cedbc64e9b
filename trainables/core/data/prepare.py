"""Preparation of a data set: opened, checked, audited, split and annotated with notes."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset, source_fingerprint, surveyed_format
from trainables.core.data.decode.crop import Regions
from trainables.core.data.decode.masks import describe_format, surveyed_masks
from trainables.core.data.readers.open_source import grouped_by_name, open_source
from trainables.core.data.source import Source, describe_unread
from trainables.core.data.splits.audit import AUDIT_VERSION, Audit, audit_images
from trainables.core.data.splits.folds import Folds, make_folds
from trainables.core.data.splits.groups import Grouping, exact_duplicates, group_by_similarity, joined
from trainables.core.data.splits.similarity import SIDE
from trainables.core.data.splits.splits import SHARES, Items, Splits, make_splits, missing_classes, twins_across
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store

_SHOWN = 10
# Maps a split data set, its source and the indices of the usable images to their crop boxes.
FindRegions = Callable[[Dataset, Source, NDArray[np.int64]], Regions]


def prepare(
    place: str,
    *,
    sizes: Sequence[int],
    seed: int,
    split: str = "grouped",
    test_share: float = SHARES["test"],
    grouping: Grouping | None = None,
    healthy: str | None = None,
    skip_bad_images: bool = False,
    folds: int | None = None,
    roi: FindRegions | None = None,
    store: Path | None = None,
    cache_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Open, check, decode, audit and split a data set.

    Args:
        place: Data set, see ``open_source``.
        sizes: Sides in pixels to decode at.
        seed: Seed of the splits.
        split: How ``test`` is made, see ``make_splits``.
        test_share: Share of ``test`` if no test split was published.
        grouping: The user's statement about which images belong together.
        healthy: Class without a disease; ignored if the data have no such class.
        skip_bad_images: Skip unusable images instead of refusing the data set.
        folds: Number of folds for all images except ``test``; None for ``fit``, ``tune`` and ``select``.
        roi: Finds the boxes to crop images to; None for whole images. Groups and splits are those of whole images.
        store: Folder of the cache; None for the node's default.
        cache_size: Most bytes in the cache; None for the node's default.
        progress: Called with the share of the audit that is done.

    Raises:
        DataError: Names the bad images (at most ten), or the classes that are too small.
        StoreFullError: The decoded images exceed the cache's limit.
    """
    grouping = grouping or Grouping()
    source, opened, bad = _opened(place, grouping, store, cache_size)
    if bad and not skip_bad_images:
        listing = (store or default_store()) / f"bad-images-{opened.fingerprint[:8]}.txt"
        raise DataError(_bad_images(source, bad, listing))
    audited = _audited(opened, source, bad, grouping.threshold, progress)
    assert audited.audit is not None
    items = Items(source.labels, audited.groups, source.published, source.class_names)
    usable = _usable(source, bad)
    splits: Splits
    made: Folds = ()
    if folds is None:
        splits = make_splits(items, usable, seed, split, test_share=test_share)
    else:
        splits, made = make_folds(items, usable, seed, split, folds, test_share)
    divided = dataclasses.replace(
        audited,
        splits=splits,
        folds=made,
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
    notes = _notes(source, items, divided, audited.audit)
    if grouping.usual_pattern is not None and not source.groups_given and grouping.threshold is None:
        notes.append("file names do not match the space's pattern, so groups were found by similarity")
    return dataclasses.replace(divided, notes=tuple(notes))


def inspect(
    place: str,
    *,
    grouping: Grouping | None = None,
    store: Path | None = None,
    cache_size: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Open and audit a data set without refusing bad images and without splitting it. Arguments as in ``prepare``."""
    grouping = grouping or Grouping()
    source, opened, bad = _opened(place, grouping, store, cache_size)
    audited = _audited(opened, source, bad, grouping.threshold, progress)
    return dataclasses.replace(audited, notes=(describe_unread(source.unread),) if source.unread else ())


def _opened(
    place: str, grouping: Grouping, store: Path | None, cache_size: int | None
) -> tuple[Source, Dataset, dict[int, str]]:
    """Return a data set before its audit, and the reason for each unusable image."""
    kept = Store(store or default_store(), cache_size)
    source = _grouped(open_source(place, grouping.column, grouping.pattern, kept), grouping, place)
    source, digests = source.read_all()
    fingerprint = source_fingerprint(source, digests)
    masks = surveyed_masks(source, fingerprint, kept)
    opened = Dataset(
        place=place,
        fingerprint=fingerprint,
        class_names=masks.format.class_names if masks else source.class_names,
        labels=source.labels,
        groups=source.groups,
        splits={},
        pixel_format=surveyed_format(source, fingerprint, kept),
        mask_format=masks.format if masks else None,
        bad_masks=frozenset(masks.bad) if masks else frozenset(),
        store=store,
        cache_size=cache_size,
    )
    _, bad = opened.decoded(SIDE, source)
    opened = dataclasses.replace(opened, undecodable=frozenset(bad))
    unlabelled = {int(index): "has no label" for index in np.flatnonzero(source.labels < 0)}
    every = {**(masks.bad if masks else {}), **bad, **unlabelled}
    if len(every) == len(source):
        raise DataError(f"{place} has no usable image; the first one, {source.names[0]}: {every[0]}")
    return source, opened, every


def _grouped(source: Source, grouping: Grouping, place: str) -> Source:
    """Return the source with groups by the usual pattern, if nothing else gives groups and every file name matches."""
    pattern = grouping.usual_pattern
    if pattern is None or source.groups_given or grouping.threshold is not None:
        return source
    named = len(source.files) > 0 and all(re.search(pattern, file) for file in source.files)
    return grouped_by_name(source, pattern, place) if named else source


def _usable(source: Source, bad: Mapping[int, str]) -> NDArray[np.int64]:
    return np.setdiff1d(np.arange(len(source)), np.array(sorted(bad), dtype=np.int64))


def _audited(
    opened: Dataset,
    source: Source,
    bad: Mapping[int, str],
    threshold: float | None,
    progress: Callable[[float], None] | None,
) -> Dataset:
    """Return the data set with its final groups and its audit, which is made once per node."""
    pixels = opened.images(SIDE)
    usable = _usable(source, bad)

    def write(folder: Path) -> None:
        found = group_by_similarity(pixels, usable, source.labels, threshold, progress)
        groups = joined(source.groups if source.groups_given else found.groups, exact_duplicates(pixels, usable))
        items = Items(source.labels, groups, source.published, source.class_names)
        audit = audit_images(items, found, source.groups_given, pixels, source.names, bad)
        np.save(folder / "groups.npy", groups)
        (folder / "audit.json").write_text(json.dumps(audit.to_dict()))

    def read(folder: Path) -> Dataset:
        audit = Audit.from_dict(json.loads((folder / "audit.json").read_text()))
        return dataclasses.replace(opened, groups=np.load(folder / "groups.npy"), audit=audit)

    groups = hashlib.sha256(np.ascontiguousarray(source.groups, dtype="<i8").tobytes()).hexdigest()[:16]
    how = f"told-{groups}" if source.groups_given else "auto" if threshold is None else threshold
    key = f"audit-{opened.images_key(SIDE)}-{how}-v{AUDIT_VERSION}"
    return opened.open_store().read(key, write, read, 100 * len(source))


def _notes(source: Source, items: Items, divided: Dataset, audit: Audit) -> list[str]:
    notes = []
    if divided.mask_format:
        notes.append(f"values of masks: {describe_format(divided.mask_format)}")
    if source.synthetic:
        notes.append("synthetic data: phantoms, not patients; scores say nothing about real images")
    if source.unread:
        notes.append(describe_unread(source.unread))
    if audit.broken:
        notes.append(f"{len(audit.broken)} unusable images were left out")
    if "val" in source.published:
        parts = "folds" if divided.folds else "fit, tune and select"
        notes.append(f"the published val split was merged with train and divided into {parts}")
    if divided.regions:
        used = np.concatenate(list(divided.splits.values()))
        whole = divided.regions.whole(used)
        rest = f"; {whole} are not cropped, because it found almost nothing or the whole image" if whole else ""
        notes.append(f"{len(used) - whole} of {len(used)} images are cropped to the region a segmentation found{rest}")
    if divided.leak:
        notes.append(f"{divided.leak} (--split grouped avoids this)")
    for class_name, missing in missing_classes(items, divided.splits).items():
        notes.append(f"{class_name} has too few {audit.named}: it has no images in {', '.join(missing)}")
    if audit.contradicting_groups:
        notes.append(f"{audit.contradicting_groups} {audit.named} have images with different labels")
    return notes


def _bad_images(source: Source, bad: dict[int, str], listing: Path) -> str:
    """Return the refusal in one line. A long list is written to a file."""
    names, rule = source.names, "readable, with a mask of its size" if source.masks else "readable and labelled"
    listed = "; ".join(f"{names[index]}: {bad[index]}" for index in sorted(bad)[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more, all in {listing}" if len(bad) > _SHOWN else ""
    listing.write_text("".join(f"{names[index]}: {bad[index]}\n" for index in sorted(bad)))
    return f"every image must be {rule}, but {len(bad)} are not ({listed}{more}): fix them or use --skip-bad-images"
