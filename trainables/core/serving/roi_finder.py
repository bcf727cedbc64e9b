"""The regions of a data set, seen by a served segmentation once a node."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.crop import REGION_VERSION, Regions
from trainables.core.data.prepare import FindRegions
from trainables.core.data.source import Source
from trainables.core.errors import DataError
from trainables.core.serving.ensemble_files import ensemble_digest, open_ensemble
from trainables.core.serving.mask_ensemble import ServedMasks

_BATCH = 64


def open_segmentation(folder: Path) -> ServedMasks:
    """Loads the segmentation in a folder.

    Raises:
        DataError: It is none.
    """
    model = open_ensemble(folder)
    if not isinstance(model, ServedMasks):
        raise DataError(f"--roi must be a segmentation, but {folder} gives classes of whole images")
    return model


def region_finder(folder: str | None, progress: Callable[[float], None] | None = None) -> FindRegions | None:
    """What ``prepare`` finds regions by: the served segmentation in a folder, if there is one."""
    return None if folder is None else partial(regions_of, Path(folder), progress=progress)


def regions_of(
    folder: Path,
    data: Dataset,
    source: Source,
    usable: NDArray[np.int64],
    progress: Callable[[float], None] | None = None,
) -> Regions:
    """The regions of the usable images; the others are taken whole.

    Args:
        folder: Of a served segmentation.
        data: Whose images they are, and in whose store regions are kept.
        source: Of the images.
        usable: Indices of those that can be read.
        progress: Told the share that is done.
    """
    digest = ensemble_digest(folder)

    def write(into: Path) -> None:
        model, boxes = open_segmentation(folder), np.zeros((len(source), 4), dtype=np.int32)
        for start in range(0, len(usable), _BATCH):
            if progress is not None:
                progress(start / len(usable))
            chosen = usable[start : start + _BATCH]
            found = model.boxes([source.read(int(one)) for one in chosen], data.pixel_format.white)
            boxes[chosen] = [box or (0, 0, 0, 0) for box in found]
        np.save(into / "boxes.npy", boxes)

    key = f"regions-{data.fingerprint[:32]}-{digest[:16]}-v{REGION_VERSION}"
    boxes = data.open_store().read(key, write, lambda kept: np.load(kept / "boxes.npy"), 16 * len(source), needed=True)
    return Regions(folder, digest, boxes)
