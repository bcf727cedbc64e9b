"""Classifier two-sample test: do two sets of images come from one distribution? (Lopez-Paz and Oquab 2017)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

_LEAST = 10  # images of each set


@dataclass(frozen=True)
class TwoSampleTest:
    """Result of the test.

    Attributes:
        accuracy: Share of held-out images whose set a logistic regression recognises; 0.5 if the sets are alike.
        p_value: Probability of at least this accuracy if the sets are alike; None if images are not known to be
            independent.
        images: Number of held-out images, half of them from each set.
    """

    accuracy: float
    p_value: float | None
    images: int


def two_sample_test(first: NDArray[np.floating], second: NDArray[np.floating], seed: int = 0) -> TwoSampleTest | None:
    """Test whether a logistic regression can tell two sets of features apart on held-out images.

    The larger set is reduced to the size of the smaller one. Half of each set trains the regression and the other half
    tests it, whose accuracy is then normal with mean 1/2 and variance 1/4n.

    Args:
        first: (N, D) features, of independent images: one for each group.
        second: (M, D) features.
        seed: Seed of the division.

    Returns:
        None with fewer than 20 images in a set.
    """
    count = min(len(first), len(second)) // 2
    if count < _LEAST:
        return None
    generator = np.random.default_rng([seed, 32])
    halves = [generator.permutation(len(part))[: 2 * count] for part in (first, second)]
    fit, test = (
        np.concatenate([first[halves[0][half]], second[halves[1][half]]]).astype(np.float64)
        for half in (slice(count), slice(count, None))
    )
    sets = np.repeat([0, 1], count)
    with threadpool_limits(1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(fit, sets)
        accuracy = float((model.predict(test) == sets).mean())
    return TwoSampleTest(accuracy, float(norm.sf((accuracy - 0.5) * np.sqrt(8 * count))), 2 * count)
