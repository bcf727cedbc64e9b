"""A data set as a trial sees it: labels and splits at hand, pixels decoded once a node into a shared memmap."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode import PixelFormat, decode, survey
from trainables.core.data.sources import Source, open_source
from trainables.core.data.splits import Items, Splits, make_splits, twins_across
from trainables.core.errors import DataError
from trainables.core.store import Store, default_store, map_array, write_array

# Part of every key: raise it whenever the same bytes would decode to other pixels.
DECODER_VERSION = 1
_SHOWN = 10


@dataclass(frozen=True)
class Dataset:
    """Everything about a data set but its pixels, small enough to send to every worker.

    Attributes:
        place: Where it came from, to decode it again on a node whose store lacks it.
        fingerprint: SHA-256 over all images, labels, groups and published splits.
        class_names: C names in class order.
        labels: (N,) int64.
        groups: (N,) int64; byte-identical images share a group.
        splits: Sorted indices of ``fit``, ``tune``, ``select`` and ``test``.
        pixel_format: What images are converted to.
        notes: What a reader of the results must know: lines about left-out images, twins, made-up data.
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
    notes: tuple[str, ...] = ()
    store: Path | None = None
    cache_size: int | None = None

    def images(self, size: int) -> NDArray[np.uint8]:
        """All N images at a side of ``size`` pixels: a read-only (N, size, size, channels) uint8 memmap.

        Decodes them first where this node has not yet done so.

        Raises:
            DataError: The data set here is not the one that was split.
        """
        return self._decoded(size, None)[0]

    def images_key(self, size: int) -> str:
        """The store's key of the decoded images, which stands for all that they depend on."""
        shape = f"{self.pixel_format.channels}x{self.pixel_format.white}"
        return f"images-{self.fingerprint[:32]}-{size}px-{shape}-v{DECODER_VERSION}"

    def open_store(self) -> Store:
        """The store of the node that asks."""
        return Store(self.store or default_store(), self.cache_size)

    def _decoded(self, size: int, source: Source | None) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """The images, and why each bad one is black; decoded from ``source`` (opened anew where None) if absent."""

        def write(folder: Path) -> None:
            opened = source or open_source(self.place)
            if source is None and _fingerprint(opened, opened.digests()) != self.fingerprint:
                raise DataError(f"{self.place} on this node is not the data that the search began with")
            bad = _decode_all(opened, folder / "images.npy", size, self.pixel_format)
            (folder / "bad.json").write_text(json.dumps(bad))

        def read(folder: Path) -> tuple[NDArray[np.uint8], dict[int, str]]:
            bad = json.loads((folder / "bad.json").read_text())
            return map_array(folder / "images.npy"), {int(index): reason for index, reason in bad.items()}

        bytes_needed = len(self.labels) * size**2 * self.pixel_format.channels
        return self.open_store().read(self.images_key(size), write, read, bytes_needed, needed=True)


def prepare(
    place: str,
    *,
    sizes: Sequence[int],
    seed: int,
    skip_bad_images: bool = False,
    store: Path | None = None,
    cache_size: int | None = None,
) -> Dataset:
    """Opens, checks, decodes and divides a data set.

    Args:
        place: As ``open_source`` takes it.
        sizes: The sides in pixels to decode at.
        seed: Of the splits.
        skip_bad_images: Leave unreadable, empty and unlabelled images out instead of refusing.
        store: Where pixels are kept; None for the node's default.
        cache_size: Bytes that the store may hold; None for the node's default.

    Raises:
        DataError: With the images at fault (at most ten of them), or the class that is too small.
        StoreFullError: The decoded images alone are more than the store may hold.
    """
    source = open_source(place)
    digests = source.digests()
    fingerprint = _fingerprint(source, digests)
    dataset = Dataset(
        place=place,
        fingerprint=fingerprint,
        class_names=source.class_names,
        labels=source.labels,
        groups=_join_twins(source.groups, digests),
        splits={},
        pixel_format=_surveyed(source, fingerprint, Store(store or default_store(), cache_size)),
        store=store,
        cache_size=cache_size,
    )
    decoded = [dataset._decoded(size, source) for size in sizes]
    bad = decoded[0][1] | {int(index): "has no label" for index in np.flatnonzero(source.labels < 0)}
    if bad and not skip_bad_images:
        raise DataError(
            _bad_images(source.names, bad, (store or default_store()) / f"bad-images-{fingerprint[:8]}.txt")
        )
    usable = np.setdiff1d(np.arange(len(source)), np.array(sorted(bad), dtype=np.int64))
    items = Items(source.labels, dataset.groups, source.published, source.class_names)
    splits = make_splits(items, usable, seed)
    return dataclasses.replace(dataset, splits=splits, notes=tuple(_notes(source, items, splits, len(bad))))


def _notes(source: Source, items: Items, splits: Splits, bad: int) -> list[str]:
    notes = []
    if source.synthetic:
        notes.append("synthetic data: phantoms, no patients; scores say nothing about real images")
    if bad:
        notes.append(f"{bad} unreadable or unlabelled images were left out")
    if "val" in source.published:
        notes.append("the published val split was pooled with train and divided anew into fit, tune and select")
    twins = twins_across(items, splits)
    if twins:
        notes.append(
            f"{twins} of {len(splits['test'])} test images have a twin in training (the published split is kept)"
        )
    return notes


def _surveyed(source: Source, fingerprint: str, store: Store) -> PixelFormat:
    """The pixel format of a data set, looked for once a node."""

    def write(folder: Path) -> None:
        (folder / "format.json").write_text(json.dumps(dataclasses.asdict(survey(source, _threads()))))

    def read(folder: Path) -> PixelFormat:
        return PixelFormat(**json.loads((folder / "format.json").read_text()))

    return store.read(f"format-{fingerprint[:32]}-v{DECODER_VERSION}", write, read, size=1000)


def _fingerprint(source: Source, digests: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps([source.class_names, list(digests)]).encode())
    for part in (source.labels, source.groups):
        digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
    digest.update("\n".join(source.published.tolist()).encode())
    return digest.hexdigest()


def _join_twins(groups: NDArray[np.int64], digests: Sequence[str]) -> NDArray[np.int64]:
    """Gives byte-identical images one group, and with them the whole groups they are in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, files = np.unique(np.array(digests), return_inverse=True)
    _, nodes = np.unique(groups, return_inverse=True)
    offset = int(nodes.max()) + 1
    # Groups and files are the two sides of a graph, an image is an edge: what hangs together stays together.
    size = offset + int(files.max()) + 1
    edges = coo_array((np.ones(len(nodes)), (nodes, files + offset)), shape=(size, size))
    components = connected_components(edges, directed=False)[1]
    return np.asarray(components[nodes], dtype=np.int64)


def _decode_all(source: Source, file: Path, size: int, pixel_format: PixelFormat) -> dict[int, str]:
    """Writes the array; returns why each image that could not be read was left black."""
    shape = (size, size, pixel_format.channels)
    bad: dict[int, str] = {}

    def one(index: int) -> NDArray[np.uint8]:
        try:
            return decode(source.read(index), size, pixel_format)
        except (DataError, OSError) as error:
            bad[index] = str(error)
            return np.zeros(shape, dtype=np.uint8)

    with ThreadPoolExecutor(_threads()) as pool:
        write_array(file, (len(source), *shape), np.dtype(np.uint8), pool.map(one, range(len(source))))
    return bad


def _bad_images(names: Sequence[str], bad: dict[int, str], listing: Path) -> str:
    """The refusal in one line; a long list goes whole into a file."""
    shown = "; ".join(f"{names[index]}: {bad[index]}" for index in sorted(bad)[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more, all in {listing}" if len(bad) > _SHOWN else ""
    listing.write_text("".join(f"{names[index]}: {bad[index]}\n" for index in sorted(bad)))
    return (
        f"every image must be readable and labelled, but {len(bad)} are not ({shown}{more}): "
        "mend them or pass --skip-bad-images"
    )


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
