"""A data set as a trial sees it: labels and splits at hand, pixels decoded once a node into a shared memmap."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.crop import REGION_VERSION, Regions
from trainables.core.data.decode.images import PixelFormat, decode, survey, threads
from trainables.core.data.decode.masks import MASK_VERSION, decode_mask
from trainables.core.data.readers.open_source import open_source
from trainables.core.data.source import MaskFormat, Source
from trainables.core.data.splits.audit import Audit
from trainables.core.data.splits.folds import POOL, Folds
from trainables.core.data.splits.splits import Splits
from trainables.core.errors import DataError
from trainables.core.node_cache import Store, default_store, map_array, write_array

# Part of every key: raise it whenever the same bytes would decode to other pixels.
DECODER_VERSION = 1
_TOLD = {
    "grouped": "whole groups of images held out",
    "published": "the published test split",
    "random": "images drawn one by one",
}


@dataclass(frozen=True)
class Dataset:
    """Everything about a data set but its pixels, small enough to send to every worker.

    Attributes:
        place: Where it came from, to decode it again on a node whose store lacks it.
        fingerprint: SHA-256 over all images and masks, labels and published splits.
        class_names: C names in class order, of images or of pixels.
        labels: (N,) int64; all 0 where pixels have classes.
        groups: (N,) int64: what must not be parted, as the data set or the user said, else as the audit found it.
        splits: Sorted indices of ``fit``, ``tune``, ``select`` and ``test``; of ``pool`` and ``test`` with folds.
        pixel_format: What images are converted to.
        audit: What is to be known before its results are believed.
        healthy: The class without a disease, where there is one.
        notes: What a reader of the results must know: lines about left-out images, twins, made-up data.
        folds: Sorted indices of each part of the ``pool``, where trials are cross-validated; else none.
        split: How ``test`` came about, a mode of ``make_splits``.
        test_twins: Images of ``test`` that have one of their own group outside.
        mask_format: What the masks hold, where pixels have classes; else None.
        regions: To what images are cut before they are resized, or None.
        store: Where pixels and the outputs of frozen prefixes are kept; None for the default of whichever node asks.
        cache_size: Bytes that the store may hold; None for that node's default.
    """

    place: str
    fingerprint: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    splits: Splits
    pixel_format: PixelFormat
    audit: Audit | None = None
    healthy: str | None = None
    notes: tuple[str, ...] = ()
    folds: Folds = ()
    split: str = "grouped"
    test_twins: int = 0
    mask_format: MaskFormat | None = None
    regions: Regions | None = None
    store: Path | None = None
    cache_size: int | None = None

    @property
    def image_classes(self) -> tuple[str, ...]:
        """The names of the classes that images have as a whole: none where pixels have them."""
        return () if self.mask_format else self.class_names

    @property
    def selection(self) -> str:
        """The split on which ensembles are chosen: by predictions of models that saw nothing of its groups."""
        return POOL if self.folds else "select"

    @property
    def training(self) -> str:
        """The split on whose images members are trained: all of it, or all but a fold."""
        return POOL if self.folds else "fit"

    @property
    def steering_told(self) -> str:
        """What the scores of trials are of, in words."""
        return "out-of-fold predictions" if self.folds else "tune"

    @property
    def selection_told(self) -> str:
        """What ensembles are chosen on, in words."""
        return "out-of-fold predictions" if self.folds else "select"

    @property
    def test_told(self) -> str:
        """What ``test`` is, in words."""
        return _TOLD[self.split]

    @property
    def leak(self) -> str | None:
        """What makes scores on ``test`` worthless as a forecast, in words, where something does."""
        if not self.test_twins:
            return None
        named = self.audit.named if self.audit else "groups"
        return (
            f"{self.test_twins} of {len(self.splits['test'])} test images have one of their own {named} in training: "
            "test scores measure memory"
        )

    def fold(self, number: int) -> "Dataset":
        """What the model of a fold, from 1, is trained on: ``tune`` is that fold, ``fit`` are all others."""
        tune, pool = self.folds[number - 1], self.splits[POOL]
        splits = {"fit": np.setdiff1d(pool, tune), "tune": tune, POOL: pool}
        return dataclasses.replace(self, splits=splits, folds=())

    def images(self, size: int) -> NDArray[np.uint8]:
        """All N images at a side of ``size`` pixels: a read-only (N, size, size, channels) uint8 memmap.

        Decodes them first where this node has not yet done so.

        Raises:
            DataError: The data set here is not the one that was split.
        """
        return self.decoded(size, None)[0]

    def masks(self, size: int) -> NDArray[np.uint8]:
        """All N masks at a side of ``size`` pixels: a read-only (N, size, size) uint8 memmap; 0 is the background.

        Decodes them first where this node has not yet done so.

        Raises:
            DataError: There are none, or the data set here is not the one that was split.
        """
        return self.decoded_masks(size, None)

    def images_key(self, size: int) -> str:
        """The store's key of the decoded images, which stands for all that they depend on."""
        shape = f"{self.pixel_format.channels}x{self.pixel_format.white}"
        cut = f"-roi{self.regions.digest[:16]}v{REGION_VERSION}" if self.regions else ""
        return f"images-{self.fingerprint[:32]}-{size}px-{shape}{cut}-v{DECODER_VERSION}"

    def uncut(self) -> "Dataset":
        """The same with whole images: as the audit saw them."""
        return dataclasses.replace(self, regions=None)

    def open_store(self) -> Store:
        """The store of the node that asks."""
        return Store(self.store or default_store(), self.cache_size)

    def decoded(self, size: int, source: Source | None) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """The images, and why each bad one is black; decoded from ``source`` (opened anew where None) if absent."""

        def write(folder: Path) -> None:
            bad = _decode_all(source or self._opened(), folder / "images.npy", size, self.pixel_format, self.regions)
            (folder / "bad.json").write_text(json.dumps(bad))

        def read(folder: Path) -> tuple[NDArray[np.uint8], dict[int, str]]:
            bad = json.loads((folder / "bad.json").read_text())
            return map_array(folder / "images.npy"), {int(index): reason for index, reason in bad.items()}

        bytes_needed = len(self.labels) * size**2 * self.pixel_format.channels
        return self.open_store().read(self.images_key(size), write, read, bytes_needed, needed=True)

    def decoded_masks(self, size: int, source: Source | None) -> NDArray[np.uint8]:
        """The masks; decoded from ``source`` (opened anew where None) if absent. Those of bad images are empty."""
        mask_format = self.mask_format
        if mask_format is None:
            raise DataError(f"a segmentation needs masks, but {self.place} has classes of whole images")

        def write(folder: Path) -> None:
            opened = source or self._opened()
            assert opened.masks is not None
            read_bytes = opened.masks.read_bytes

            def one(index: int) -> NDArray[np.uint8]:
                try:
                    return decode_mask(read_bytes(index), size, mask_format)
                except (DataError, OSError):  # the survey has told of it
                    return np.zeros((size, size), dtype=np.uint8)

            with ThreadPoolExecutor(threads()) as pool:
                shape = (len(opened), size, size)
                write_array(folder / "masks.npy", shape, np.dtype(np.uint8), pool.map(one, range(len(opened))))

        values = hashlib.sha256(json.dumps(mask_format.to_dict()).encode()).hexdigest()[:8]
        key = f"masks-{self.fingerprint[:32]}-{size}px-{values}-v{MASK_VERSION}"
        bytes_needed = len(self.labels) * size**2
        return self.open_store().read(
            key, write, lambda folder: map_array(folder / "masks.npy"), bytes_needed, needed=True
        )

    def _opened(self) -> Source:
        """The source again, on a node that lacks what was decoded."""
        opened = open_source(self.place, store=self.open_store())
        if source_fingerprint(opened, opened.digests()) != self.fingerprint:
            raise DataError(f"{self.place} on this node is not the data that the search began with")
        return opened


def surveyed_format(source: Source, fingerprint: str, store: Store) -> PixelFormat:
    """The pixel format of a data set, looked for once a node."""

    def write(folder: Path) -> None:
        (folder / "format.json").write_text(json.dumps(dataclasses.asdict(survey(source, threads()))))

    def read(folder: Path) -> PixelFormat:
        return PixelFormat(**json.loads((folder / "format.json").read_text()))

    return store.read(f"format-{fingerprint[:32]}-v{DECODER_VERSION}", write, read, size=1000)


def source_fingerprint(source: Source, digests: Sequence[str]) -> str:
    """SHA-256 over all images and masks (by their digests), labels and published splits.

    Not over groups: a node that opens the place again is not told them.
    """
    digest = hashlib.sha256(json.dumps([source.class_names, list(digests)]).encode())
    digest.update(np.ascontiguousarray(source.labels, dtype="<i8").tobytes())
    digest.update("\n".join(source.published.tolist()).encode())
    return digest.hexdigest()


def _decode_all(
    source: Source, file: Path, size: int, pixel_format: PixelFormat, regions: Regions | None
) -> dict[int, str]:
    """Writes the array; returns why each image that could not be read was left black."""
    shape = (size, size, pixel_format.channels)
    bad: dict[int, str] = {}

    def one(index: int) -> NDArray[np.uint8]:
        try:
            return decode(source.read(index), size, pixel_format, regions.box(index) if regions else None)
        except (DataError, OSError) as error:
            bad[index] = str(error)
            return np.zeros(shape, dtype=np.uint8)

    with ThreadPoolExecutor(threads()) as pool:
        write_array(file, (len(source), *shape), np.dtype(np.uint8), pool.map(one, range(len(source))))
    return bad
