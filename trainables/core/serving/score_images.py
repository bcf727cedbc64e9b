"""Scoring of many images, in which an unreadable image does not affect the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.images import decode
from trainables.core.data.readers.unlabelled import NamedImage, Part, batches, read_part
from trainables.core.errors import DataError
from trainables.core.serving.ensembles.base import Ensemble

BATCH = 64


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """Prediction for one image, or the reason why there is none.

    Attributes:
        name: Name of the image.
        probabilities: (C,) float32 class probabilities of a classification, else None.
        error: Reason why the image could not be scored, else "".
        mask: (H, W) uint8 pixel classes of a segmentation, else None.
        input_mask: The same at the size of the network's input.
        unlike: Ways in which the image differs from the training images, in words; "" if none is known.
        answer: Predicted class or labels, as in ``Prediction``.
        unlike_score: Distance from the training images, as in ``Prediction``.
        is_positive: Decision at the model's operating point, as in ``Prediction``.
        prediction_set: Classes that are not ruled out, as in ``Prediction``.
        abstain: True unless exactly one class is left, as in ``Prediction``.
        undecided: Labels that the prediction set leaves open, as in ``Prediction``.
    """

    name: str
    probabilities: NDArray[np.float32] | None
    error: str = ""
    mask: NDArray[np.uint8] | None = None
    input_mask: NDArray[np.uint8] | None = None
    unlike: str = ""
    answer: str = ""
    unlike_score: float | None = None
    is_positive: bool | None = None
    prediction_set: str | None = None
    abstain: bool | None = None
    undecided: str | None = None


def score_parts(ensemble: Ensemble, parts: Iterable[Part]) -> Iterator[ScoredImage]:
    """Score all images of all parts in order, with one batch in memory at a time."""
    images = (image for part in parts for image in read_part(part))
    for batch in batches(images, BATCH):
        yield from score_images(ensemble, batch)


def score_images(ensemble: Ensemble, images: Sequence[NamedImage]) -> list[ScoredImage]:
    """Score a batch of images. Unreadable ones get an error instead of a prediction."""
    errors = [image.error for image in images]
    try:
        return _score_readable(ensemble, images, errors)
    except DataError:  # rare, so only now decode the images one by one
        errors = [image.error or _decoding_error(image.data, ensemble) for image in images]
        return _score_readable(ensemble, images, errors)


def _score_readable(ensemble: Ensemble, images: Sequence[NamedImage], errors: Sequence[str]) -> list[ScoredImage]:
    """Score the images that have no error.

    Raises:
        DataError: One of them cannot be decoded.
    """
    readable = [image.data for image, error in zip(images, errors, strict=True) if not error]
    predictions = iter(ensemble.predict_batch(readable) if readable else [])
    scored = []
    for image, error in zip(images, errors, strict=True):
        if error:
            scored.append(ScoredImage(image.name, None, error))
        else:
            prediction = next(predictions)
            scored.append(ScoredImage(image.name, error="", **vars(prediction)))
    return scored


def _decoding_error(data: bytes, ensemble: Ensemble) -> str:
    try:
        for pixel_format in ensemble.pixel_formats:
            decode(data, 1, pixel_format)
    except DataError as error:
        return str(error)
    return ""
