"""Distance of new images from the training images of a model."""

import numpy as np
from numpy.typing import NDArray

from analysis.report.evaluation.inputs import Shift
from analysis.statistics.external.two_sample_test import two_sample_test
from trainables.core.serving.ensembles.base import Ensemble
from tuning.evaluate.data.external_data import ExternalData
from tuning.evaluate.score_source import SourceScores, features_of

_MOST = 500


def shift_of(external: ExternalData, scores: SourceScores, ensemble: Ensemble) -> Shift:
    """Compare new images with the training images that the model stores features of.

    Args:
        external: The new images.
        scores: Their predictions.
        ensemble: The model.
    """
    known, distances = ensemble.training_features, scores.distances
    images, unlike = len(scores.rows), int(scores.unlike.sum())
    if known is None or distances is None:
        return Shift(images, unlike)
    features = features_of(ensemble, external.source, _one_of_each_group(external, scores.rows))
    return Shift(
        images,
        unlike,
        far=int((distances > 1).sum()),
        median=float(np.median(distances)),
        test=two_sample_test(known.features, features),
    )


def _one_of_each_group(external: ExternalData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first image of at most 500 groups, drawn at random."""
    firsts = rows[np.unique(external.data.groups[rows], return_index=True)[1]]
    return np.random.default_rng(34).permutation(firsts)[:_MOST]
