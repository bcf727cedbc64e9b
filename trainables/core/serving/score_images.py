"""Scores images one by one as far as failures go: one that cannot be read costs the others nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.images import decode
from trainables.core.data.readers.unlabelled import NamedImage, Part, batches, read_part
from trainables.core.errors import DataError
from trainables.core.serving.ensemble import ServedEnsemble
from trainables.core.serving.mask_ensemble import ServedMasks

Served = ServedEnsemble | ServedMasks
BATCH = 64


@dataclass(frozen=True)
class Scored:
    """What a model makes of one image, or why it makes nothing.

    Attributes:
        name: Of the image.
        probabilities: (C,) float32 of its classes; None where there are none.
        error: Why there is nothing.
        mask: (H, W) uint8 classes of its pixels, of a segmentation; else None.
    """

    name: str
    probabilities: NDArray[np.float32] | None
    error: str = ""
    mask: NDArray[np.uint8] | None = None


def score_parts(ensemble: Served, parts: Iterable[Part]) -> Iterator[Scored]:
    """Scores all images of all parts in order, a batch in memory at a time."""
    images = (image for part in parts for image in read_part(part))
    for batch in batches(images, BATCH):
        yield from score_images(ensemble, batch)


def score_images(ensemble: Served, images: Sequence[NamedImage]) -> list[Scored]:
    """Scores a batch; images that cannot be read or decoded come back with the reason."""
    errors = [image.error for image in images]
    try:
        found = _predicted(ensemble, [image.data for image in images if not image.error])
    except DataError:  # rare, so that images are decoded twice only then
        errors = [image.error or _decoding_error(image.data, ensemble) for image in images]
        found = _predicted(ensemble, [image.data for image, error in zip(images, errors, strict=True) if not error])
    rows, of_pixels = iter(found), isinstance(ensemble, ServedMasks)

    def scored(image: NamedImage, error: str) -> Scored:
        if error:
            return Scored(image.name, None, error)
        return Scored(image.name, None, mask=next(rows)) if of_pixels else Scored(image.name, next(rows))

    return [scored(image, error) for image, error in zip(images, errors, strict=True)]


def _predicted(ensemble: Served, images: Sequence[bytes]) -> Iterable[NDArray[Any]]:
    """Rows of probabilities, or masks."""
    if not images:
        return ()
    return ensemble.masks(images) if isinstance(ensemble, ServedMasks) else ensemble.probabilities(images)


def _decoding_error(data: bytes, ensemble: Served) -> str:
    try:
        decode(data, 1, ensemble.pixel_format)
    except DataError as error:
        return str(error)
    return ""
