"""The regions of a data set, seen by a served segmentation once a node."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.region import REGION_VERSION, Box, Regions, box_of
from trainables.core.data.source import Source
from trainables.core.errors import DataError
from trainables.core.models.served_masks import ServedMasks
from trainables.core.models.stored import ensemble_digest, open_ensemble
from trainables.core.store import Store

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


def regions_of(
    source: Source,
    usable: NDArray[np.int64],
    folder: Path,
    fingerprint: str,
    store: Store,
    progress: Callable[[float], None] | None = None,
) -> Regions:
    """The regions of the usable images; the others are taken whole.

    Args:
        source: Of the images.
        usable: Indices of those that can be read.
        folder: Of a served segmentation.
        fingerprint: Of the data.
        store: Where they are kept.
        progress: Told the share that is done.
    """
    digest = ensemble_digest(folder)

    def write(into: Path) -> None:
        model, boxes = open_segmentation(folder), np.zeros((len(source), 4), dtype=np.int32)
        for start in range(0, len(usable), _BATCH):
            if progress is not None:
                progress(start / len(usable))
            chosen = usable[start : start + _BATCH]
            for index, box in zip(chosen, boxes_of([source.read(int(one)) for one in chosen], model), strict=True):
                boxes[index] = box or (0, 0, 0, 0)
        np.save(into / "boxes.npy", boxes)

    key = f"regions-{fingerprint[:32]}-{digest[:16]}-v{REGION_VERSION}"
    boxes = store.read(key, write, lambda kept: np.load(kept / "boxes.npy"), 16 * len(source), needed=True)
    return Regions(folder, digest, boxes)


def boxes_of(images: Sequence[Any], model: ServedMasks) -> list[Box | None]:
    """The box of each image, given as ``ServedMasks.predict`` takes them; None where the whole image is to be taken."""
    return [box_of(mask) for mask in model.masks(images)]
