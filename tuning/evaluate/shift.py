"""Distance of new images from the training images of a model."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.report.evaluation.inputs import Shift
from analysis.statistics.external.two_sample_test import TwoSampleTest, two_sample_test
from trainables.core.serving.ensembles.base import Ensemble
from trainables.core.serving.training_features import TrainingFeatures
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
        test=compare_features(known, features),
    )


def compare_features(known: TrainingFeatures, features: NDArray[np.floating]) -> TwoSampleTest | None:
    """Test whether new images can be told from training images by their features, with one image of each group.

    A p-value needs independent images, so there is none if the model does not know which training images those are.

    Args:
        known: Features of training images.
        features: (n, D) features of one new image of each group.
    """
    if known.independent is not None:
        return two_sample_test(known.features[known.independent], features)
    found = two_sample_test(known.features, features)
    return None if found is None else replace(found, p_value=None)


def _one_of_each_group(external: ExternalData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an image of each of at most 500 groups, all drawn at random."""
    generator = np.random.default_rng(34)
    rows = generator.permutation(rows)
    of_groups = rows[np.unique(external.data.groups[rows], return_index=True)[1]]
    return generator.permutation(of_groups)[:_MOST]
