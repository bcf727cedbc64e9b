"""Scores of the images of a source by a registered model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.unlabelled import NamedImage
from trainables.core.data.source import Source
from trainables.core.errors import DataError, first_line
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.ensembles.whole_image_ensemble import WholeImageEnsemble
from trainables.core.serving.score_images import BATCH, ScoredImage, score_images


@dataclass(frozen=True, eq=False)
class SourceScores:
    """Predictions for some images of a source.

    Attributes:
        rows: (n,) indices of the scored images.
        probabilities: (n, C) float32.
        unlike: Whether the model calls each image unlike its training images.
        distances: (n,) ``unlike_score`` of each image; None if the model stores no features.
        errors: Reason for each image that could not be scored, by index.
    """

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    unlike: NDArray[np.bool_]
    distances: NDArray[np.float64] | None
    errors: dict[int, str]

    def without(self, rows: NDArray[np.int64]) -> "SourceScores":
        """Return the scores of all other images."""
        left = ~np.isin(self.rows, rows)
        distances = None if self.distances is None else self.distances[left]
        return SourceScores(self.rows[left], self.probabilities[left], self.unlike[left], distances, self.errors)


def score_source(
    ensemble: Ensemble, source: Source, rows: NDArray[np.int64], progress: Callable[[float], None]
) -> SourceScores:
    """Score images as the served model does, from their encoded files, with one batch in memory at a time.

    Args:
        ensemble: The model.
        source: Encoded images.
        rows: Indices of the images to score.
        progress: Called with the share that is done.
    """
    scored: list[ScoredImage] = []
    for start in range(0, len(rows), BATCH):
        batch = [_image(source, index) for index in rows[start : start + BATCH].tolist()]
        scored += score_images(ensemble, batch)
        progress((start + len(batch)) / len(rows))
    good = np.array([not one.error for one in scored], dtype=bool)
    found = [one.probabilities for one in scored if one.probabilities is not None]
    distances = [one.unlike_score for one in scored if one.unlike_score is not None]
    return SourceScores(
        rows=rows[good],
        probabilities=np.array(found, dtype=np.float32).reshape(-1, len(ensemble.class_names)),
        unlike=np.array([bool(one.unlike) for one in scored if not one.error], dtype=bool),
        distances=np.array(distances) if distances else None,
        errors={int(row): one.error for row, one in zip(rows, scored, strict=True) if one.error},
    )


def features_of(ensemble: WholeImageEnsemble, source: Source, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the (n, D) features of readable images of a source."""
    batches = [rows[start : start + BATCH].tolist() for start in range(0, len(rows), BATCH)]
    return np.concatenate([ensemble.features([source.read(row) for row in batch]) for batch in batches])


def _image(source: Source, index: int) -> NamedImage:
    try:
        return NamedImage(source.names[index], source.read(index))
    except (DataError, OSError) as error:
        return NamedImage(source.names[index], error=first_line(error))
