"""Regions of interest of a data set, found by a registered segmentation once per node."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.child_process import follow_parent, own_code_first
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.crop import REGION_VERSION, Box, Regions
from trainables.core.data.decode.images import DECODER_VERSION, PixelFormat
from trainables.core.data.prepare import FindRegions
from trainables.core.data.source import Source
from trainables.core.errors import DataError
from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.ensembles.segmentation_ensemble import SegmentationEnsemble
from trainables.core.serving.image_input import UnreadableImageError

_BATCH = 64


def open_segmentation(folder: Path, device: torch.device | None = None) -> SegmentationEnsemble:
    """Load a segmentation from an untrusted folder.

    Args:
        folder: Folder of the ensemble.
        device: Device to load it on; None for a GPU if there is one.

    Raises:
        DataError: The model is not a segmentation, or cannot be loaded.
    """
    model = open_ensemble(folder, device)
    if not isinstance(model, SegmentationEnsemble):
        raise DataError(f"--roi must be a segmentation, but {folder} is a classification")
    return model


def region_finder(folder: str | None, progress: Callable[[float], None] | None = None) -> FindRegions | None:
    """Return the function with which ``prepare`` finds regions, or None without a segmentation's folder."""
    return None if folder is None else partial(regions_of, Path(folder), progress=progress)


def regions_of(
    folder: Path,
    data: Dataset,
    source: Source,
    usable: NDArray[np.int64],
    progress: Callable[[float], None] | None = None,
) -> Regions:
    """Find the regions of a data set's images, or read them from the node's cache.

    Args:
        folder: Folder of a segmentation.
        data: Data set of the images; its cache stores the regions.
        source: Encoded images.
        usable: Indices of the readable images. The others are not cropped.
        progress: Called with the completed share, from 0 to 1.
    """
    digest = ensemble_digest(folder)

    def write(into: Path) -> None:
        boxes = np.zeros((len(source), 4), dtype=np.int32)
        with _box_finder(folder) as find:
            for start in range(0, len(usable), _BATCH):
                if progress is not None:
                    progress(start / len(usable))
                batch = usable[start : start + _BATCH]
                try:
                    found = find([source.read(int(index)) for index in batch], data.pixel_format)
                except UnreadableImageError as error:
                    raise DataError(f"{source.names[batch[error.position]]}: {error.reason}") from error
                boxes[batch] = [box or (0, 0, 0, 0) for box in found]
        np.save(into / "boxes.npy", boxes)

    def load(stored: Path) -> NDArray[np.int32]:
        boxes: NDArray[np.int32] = np.load(stored / "boxes.npy")
        return boxes

    key = f"regions-{data.fingerprint[:32]}-{digest[:16]}-v{REGION_VERSION}-v{DECODER_VERSION}"
    boxes = data.open_store().read(key, write, load, 16 * len(source), needed=True)
    return Regions(folder, digest, boxes)


@contextmanager
def _box_finder(folder: Path) -> Iterator[Callable[[Sequence[bytes], PixelFormat], list[Box | None]]]:
    """Yield the function that returns the boxes of encoded images of a pixel format.

    On a GPU it runs in a process of its own, because CUDA would keep memory of the GPU, which trials need, until this
    process ends.
    """
    if not torch.cuda.is_available():
        yield open_segmentation(folder).boxes
        return
    spawn = multiprocessing.get_context("spawn")  # CUDA does not work in forks
    with own_code_first(), ProcessPoolExecutor(1, spawn, follow_parent) as process:
        yield lambda images, scale: process.submit(_boxes, folder, images, scale).result()


def _boxes(folder: Path, images: Sequence[bytes], scale: PixelFormat) -> list[Box | None]:
    """Find boxes in a process that does nothing else."""
    return _opened(folder).boxes(images, scale)


_opened = cache(open_segmentation)
