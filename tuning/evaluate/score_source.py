"""Scores of the images of a source by a registered model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.readers.unlabelled import NamedImage
from trainables.core.data.source import Source
from trainables.core.errors import DataError, first_line
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.score_images import BATCH, ScoredImage, score_images
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.scored_values import value_reader


@dataclass(frozen=True, eq=False)
class SourceScores:
    """Predictions for some images of a source.

    Attributes:
        rows: (n,) indices of the scored images.
        predictions: (n, F) values that are scored: probabilities, or pixel counts of masks.
        unlike: (n,) True for images that the model calls unlike its training images.
        distances: (n,) ``unlike_score`` of each image; None if the model stores no features.
        errors: Reason for each image that could not be scored, by index.
        own_size: The same as ``predictions`` at the images' own sizes, if that is another answer.
    """

    rows: NDArray[np.int64]
    predictions: NDArray[np.floating]
    unlike: NDArray[np.bool_]
    distances: NDArray[np.float64] | None
    errors: dict[int, str]
    own_size: NDArray[np.floating] | None = None

    def without(self, rows: NDArray[np.int64]) -> "SourceScores":
        """Return the scores of all other images."""
        left = ~np.isin(self.rows, rows)
        return replace(
            self,
            rows=self.rows[left],
            predictions=self.predictions[left],
            unlike=self.unlike[left],
            distances=None if self.distances is None else self.distances[left],
            own_size=None if self.own_size is None else self.own_size[left],
        )


def score_source(ensemble: Ensemble, external: ExternalData, progress: Callable[[float], None]) -> SourceScores:
    """Score the images in ``test`` as the served model does, from their files, with one batch in memory at a time.

    Args:
        ensemble: The model.
        external: The images.
        progress: Called with the share that is done.
    """
    reader, rows = value_reader(external), external.data.splits["test"]
    good, predictions, own_size = list[tuple[int, ScoredImage]](), list[NDArray[Any]](), list[NDArray[Any]]()
    errors = dict[int, str]()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH].tolist()
        scored = score_images(ensemble, [_image(external.source, row) for row in batch])
        errors |= {row: one.error for row, one in zip(batch, scored, strict=True) if one.error}
        for row, one in zip(batch, scored, strict=True):
            if not one.error:
                predictions.append(reader.read(row, one))
                own = reader.read_own_size(row, one)
                own_size += [] if own is None else [own]
                good.append((row, replace(one, mask=None, input_mask=None)))
        progress((start + len(batch)) / len(rows))
    distances = [one.unlike_score for _, one in good if one.unlike_score is not None]
    return SourceScores(
        rows=np.array([row for row, _ in good], dtype=np.int64),
        predictions=np.array(predictions),
        unlike=np.array([bool(one.unlike) for _, one in good], dtype=bool),
        distances=np.array(distances) if distances else None,
        errors=errors,
        own_size=np.array(own_size) if own_size else None,
    )


def features_of(ensemble: Ensemble, source: Source, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the (n, D) features of readable images of a source."""
    batches = [rows[start : start + BATCH].tolist() for start in range(0, len(rows), BATCH)]
    return np.concatenate([ensemble.features([source.read(row) for row in batch]) for batch in batches])


def _image(source: Source, index: int) -> NamedImage:
    try:
        return NamedImage(source.names[index], source.read(index))
    except (DataError, OSError) as error:
        return NamedImage(source.names[index], error=first_line(error))
