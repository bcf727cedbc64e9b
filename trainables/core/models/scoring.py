"""Scores images one by one as far as failures go: one that cannot be read costs the others nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode import decode
from trainables.core.data.unlabelled import NamedImage, Part, batches, read_part
from trainables.core.errors import DataError
from trainables.core.models.served import ServedEnsemble

BATCH = 64


@dataclass(frozen=True)
class Scored:
    """One image's class probabilities, (C,) float32, or None and why there are none."""

    name: str
    probabilities: NDArray[np.float32] | None
    error: str = ""


def score_parts(ensemble: ServedEnsemble, parts: Iterable[Part]) -> Iterator[Scored]:
    """Scores all images of all parts in order, a batch in memory at a time."""
    images = (image for part in parts for image in read_part(part))
    for batch in batches(images, BATCH):
        yield from score_images(ensemble, batch)


def score_images(ensemble: ServedEnsemble, images: Sequence[NamedImage]) -> list[Scored]:
    """Scores a batch; images that cannot be read or decoded come back with the reason."""
    errors = [image.error for image in images]
    good = [image.data for image in images if not image.error]
    try:
        probabilities = ensemble.probabilities(good) if good else np.zeros((0, 0), dtype=np.float32)
    except DataError:  # rare, so that images are decoded twice only then
        errors = [image.error or _decoding_error(image.data, ensemble) for image in images]
        good = [image.data for image, error in zip(images, errors, strict=True) if not error]
        probabilities = ensemble.probabilities(good) if good else np.zeros((0, 0), dtype=np.float32)
    rows = iter(probabilities)
    return [
        Scored(image.name, None if error else next(rows), error) for image, error in zip(images, errors, strict=True)
    ]


def _decoding_error(data: bytes, ensemble: ServedEnsemble) -> str:
    try:
        decode(data, 1, ensemble.pixel_format)
    except DataError as error:
        return str(error)
    return ""
