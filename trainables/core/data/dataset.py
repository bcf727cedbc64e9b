"""Data set of a trial: labels and splits in memory, pixels decoded once per node into a shared memmap."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.config import SegmentationConfig
from trainables.core.data.decode.crop import REGION_VERSION, Regions
from trainables.core.data.decode.decoded_files import write_images, write_masks
from trainables.core.data.decode.images import DECODER_VERSION, PixelFormat, describe_window
from trainables.core.data.decode.masks import MASK_VERSION
from trainables.core.data.image_kind import ImageKind
from trainables.core.data.labels import membership, task_of
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.source import MaskFormat, Source, source_fingerprint
from trainables.core.data.splits.audit import Audit
from trainables.core.data.splits.folds import POOL, Folds
from trainables.core.data.splits.splits import Splits
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store, map_array

_TEST_DESCRIPTIONS = {
    "grouped": "whole groups of images held out",
    "published": "the published test split",
    "random": "images drawn one by one",
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set without its pixels, small enough to send to every worker.

    Attributes:
        place: Source of the images, to decode them again on a node whose cache lacks them.
        table: Table of the labels; None if the layout of the images gives them.
        fingerprint: SHA-256 over all images and masks, labels and published splits.
        class_names: C names in class order, of images or of pixels.
        labels: (N,) int64, all 0 in a segmentation; (N, C) of 0 and 1 if images have several labels.
        groups: (N,) int64. Images of one group stay together. They come from the data set, the user or the audit.
        patients: (N,) int64 patient of each image, if the data set or the user names them, else None. A group may hold
            several patients, because equal images are in one group.
        splits: Sorted indices of ``fit``, ``tune``, ``select`` and ``test``, or of ``pool`` and ``test`` with folds.
        pixel_format: Common format that images are converted to.
        audit: Findings of the audit.
        healthy: Name of the class without a disease, if there is one.
        ordered: True if the classes are grades, from the lowest to the highest.
        notes: Facts that readers of results must know: left-out images, duplicates, synthetic data.
        folds: Sorted indices of each fold of ``pool`` if trials are cross-validated, else empty.
        split: How ``test`` was made, a mode of ``make_splits``.
        test_twins: Number of test images that have an image of their own group outside ``test``.
        mask_format: Meaning of the masks in a segmentation, else None.
        regions: Boxes to which images are cropped before resizing, or None.
        undecodable: Indices of images that cannot be decoded. They are in no split. None until the first decoding.
        bad_masks: Indices of images whose masks cannot be used. They are in no split.
        kind: Kind of the training images, which a registered model compares others with.
        store: Folder of the node's cache; None for the default of the node that asks.
        cache_size: Most bytes in that cache; None for the node's default.
    """

    place: str
    fingerprint: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    splits: Splits
    pixel_format: PixelFormat
    audit: Audit | None = None
    patients: NDArray[np.int64] | None = None
    healthy: str | None = None
    ordered: bool = False
    notes: tuple[str, ...] = ()
    folds: Folds = ()
    split: str = "grouped"
    test_twins: int = 0
    mask_format: MaskFormat | None = None
    table: LabelTable | None = None
    regions: Regions | None = None
    undecodable: frozenset[int] | None = None
    bad_masks: frozenset[int] = frozenset()
    kind: ImageKind | None = None
    store: Path | None = None
    cache_size: int | None = None

    @property
    def task(self) -> str:
        """Name of the task that the data set is for, as in a training configuration."""
        return task_of(self.labels) if self.mask_format is None else SegmentationConfig.task

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the classes of whole images; empty in a segmentation."""
        return () if self.mask_format else self.class_names

    def count_classes(self, indices: NDArray[np.int64] | slice = slice(None)) -> dict[str, int]:
        """Count the images of each class of whole images, among all images or those at ``indices``."""
        counts = membership(self.labels[indices], len(self.class_names)).sum(axis=0)
        return dict(zip(self.image_classes, counts.tolist(), strict=False))

    def describe_label(self, index: int) -> str:
        """Return the class of an image, or its labels, in words."""
        has = membership(self.labels[[index]], len(self.class_names))[0]
        return ", ".join(name for name, given in zip(self.class_names, has, strict=True) if given) or "no label"

    @property
    def selection(self) -> str:
        """Split on which ensembles are chosen. No model was trained on any of its groups."""
        return POOL if self.folds else "select"

    @property
    def training(self) -> str:
        """Split on whose images members are trained: all of it, or all but one fold."""
        return POOL if self.folds else "fit"

    @property
    def scored_on(self) -> str:
        """Images that trials are scored on, in words."""
        return "out-of-fold predictions" if self.folds else "tune"

    @property
    def chosen_on(self) -> str:
        """Images that ensembles are chosen on, in words."""
        return "out-of-fold predictions" if self.folds else "select"

    @property
    def test_description(self) -> str:
        """Origin of ``test``, in words."""
        return _TEST_DESCRIPTIONS[self.split]

    @property
    def leak(self) -> str | None:
        """Reason why test scores do not forecast anything, in words, or None."""
        if not self.test_twins:
            return None
        named = self.audit.named.removesuffix("s") if self.audit else "group"
        return (
            f"{self.test_twins} of {len(self.splits['test'])} test images share their {named} with training images: "
            "test scores measure memory"
        )

    def fold(self, number: int) -> "Dataset":
        """Return the data set of one fold's model, counted from 1: ``tune`` is the fold, ``fit`` the remaining pool."""
        tune, pool = self.folds[number - 1], self.splits[POOL]
        splits = {"fit": np.setdiff1d(pool, tune), "tune": tune, POOL: pool}
        return dataclasses.replace(self, splits=splits, folds=())

    def images(self, size: int) -> NDArray[np.uint8]:
        """Return all N images at ``size`` pixels a side: a read-only (N, size, size, channels) uint8 memmap.

        Decodes them first if this node has not yet done so.

        Raises:
            DataError: The images on this node are not those that were split.
        """
        return self.decoded(size, None)[0]

    def masks(self, size: int) -> NDArray[np.uint8]:
        """Return all N masks at ``size`` pixels a side: a read-only (N, size, size) uint8 memmap; 0 is the background.

        Decodes them first if this node has not yet done so.

        Raises:
            DataError: There are no masks, or the data on this node are not those that were split.
        """
        return self.decoded_masks(size, None)

    def images_key(self, size: int) -> str:
        """Return the cache key of the decoded images, which covers everything they depend on."""
        black, white = self.pixel_format.black, self.pixel_format.white
        shape = f"{self.pixel_format.channels}x{f'{black}to' if black else ''}{white}"
        cut = f"-roi{self.regions.digest[:16]}v{REGION_VERSION}" if self.regions else ""
        shown = describe_window(self.pixel_format.window)
        return f"images-{self.fingerprint[:32]}-{size}px-{shape}{cut}{shown}-v{DECODER_VERSION}"

    def uncropped(self) -> "Dataset":
        """Return the data set with whole images, as the audit uses them."""
        return dataclasses.replace(self, regions=None)

    def open_source(self) -> Source:
        """Open the images again. Groups are only those that the data set itself gives."""
        return open_source(self.place, store=self.open_store(), table=self.table, slicing=self.pixel_format.slicing)

    def open_store(self) -> Store:
        """Open the cache of the node that asks."""
        return Store(self.store or default_store(), self.cache_size)

    def decoded(self, size: int, source: Source | None) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Return the images, and the reason for each one that cannot be decoded, which is black.

        They are decoded from ``source`` (opened again if None) if the cache lacks them. Nothing is cached if this node
        fails to read or decode an image that the driver could.

        Raises:
            DataError: The data on this node are not those that were split, or other images cannot be decoded.
            OSError: A file cannot be read.
        """

        def write(folder: Path) -> None:
            opened = source or self._opened()
            bad = write_images(opened, folder / "images.npy", size, self.pixel_format, self.regions)
            self._check_decoded(bad, opened)
            (folder / "bad.json").write_text(json.dumps(bad))

        def read(folder: Path) -> tuple[NDArray[np.uint8], dict[int, str]]:
            bad = json.loads((folder / "bad.json").read_text())
            return map_array(folder / "images.npy"), {int(index): reason for index, reason in bad.items()}

        bytes_needed = len(self.labels) * size**2 * self.pixel_format.channels
        return self.open_store().read(self.images_key(size), write, read, bytes_needed, needed=True)

    def _check_decoded(self, bad: Mapping[int, str], source: Source) -> None:
        for index in sorted(bad.keys() ^ (bad.keys() if self.undecodable is None else self.undecodable)):
            why = bad.get(index, "is readable here, but was not when the search began")
            raise DataError(
                f"{self.place} on this node differs from the data of the driver: {source.names[index]} {why}"
            )

    def decoded_masks(self, size: int, source: Source | None) -> NDArray[np.uint8]:
        """Return the masks, decoded from ``source`` (opened again if None) if the cache lacks them.

        Masks of bad images are empty.
        """
        mask_format = self.mask_format
        if mask_format is None:
            raise DataError(f"a segmentation needs masks, but {self.place} has classes of whole images instead")

        def write(folder: Path) -> None:
            write_masks(source or self._opened(), folder / "masks.npy", size, mask_format, self.bad_masks)

        values = hashlib.sha256(json.dumps(mask_format.to_dict()).encode()).hexdigest()[:8]
        key = f"masks-{self.fingerprint[:32]}-{size}px-{values}-v{MASK_VERSION}"
        bytes_needed = len(self.labels) * size**2
        return self.open_store().read(
            key, write, lambda folder: map_array(folder / "masks.npy"), bytes_needed, needed=True
        )

    def _opened(self) -> Source:
        """Open the source again on a node whose cache lacks its images."""
        opened, digests = self.open_source().read_all()
        if source_fingerprint(opened, digests) != self.fingerprint:
            broken = next((f": {opened.names[index]} {why}" for index, why in opened.unreadable.items()), "")
            raise DataError(f"{self.place} on this node differs from the data that the search began with{broken}")
        return opened
