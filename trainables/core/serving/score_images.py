"""Scoring of many images, in which an unreadable image does not affect the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.unlabelled import NamedImage, Part, batches, read_part
from trainables.core.serving.ensembles.base import Ensemble, Prediction
from trainables.core.serving.image_input import UnreadableImageError

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
    answers = iter(_predicted(ensemble, [image.data for image in images if not image.error]))
    return [_scored(image.name, image.error or next(answers)) for image in images]


def _predicted(ensemble: Ensemble, images: Sequence[bytes]) -> list[Prediction | str]:
    """Return the prediction of each encoded image, or the reason why it cannot be read."""
    if not images:
        return []
    try:
        return [*ensemble.predict_batch(images)]
    except UnreadableImageError as error:  # rare, so only now repeat the images before it
        before, after = images[: error.position], images[error.position + 1 :]
        return [*_predicted(ensemble, before), error.reason, *_predicted(ensemble, after)]


def _scored(name: str, answer: Prediction | str) -> ScoredImage:
    return ScoredImage(name, None, answer) if isinstance(answer, str) else ScoredImage(name, **vars(answer))
