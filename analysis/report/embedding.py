"""What of a data set is looked at more closely in a report: which images, and how their features lie to each other."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from trainables.core.data.dataset import Dataset

MOST_EMBEDDED = 2000
MOST_MAPPED = 12
PERPLEXITY = 30.0
_LEAST_EMBEDDED = 5
_COMPONENTS = 50
_LEAST_SPREAD = 1e-9
_EXACT_BELOW = 200
_STEPS = 500  # 4 s for 2,000 images on a CPU core


def images_to_embed(data: Dataset, count: int = MOST_EMBEDDED, seed: int = 0) -> NDArray[np.int64]:
    """Images of training and ``test``, at most ``count``, in proportion to split and class, at least one of each.

    In no order, so that the first of them are like all of them.
    """
    generator = np.random.default_rng([seed, 21])
    strata = [
        rows[data.labels[rows] == label]
        for rows in (data.splits[data.training], data.splits["test"])
        for label in np.unique(data.labels[rows])
    ]
    total = sum(map(len, strata))
    share = min(1.0, max(0, count - len(strata)) / max(1, total))
    chosen = [generator.permutation(rows)[: max(1, int(len(rows) * share))] for rows in strata]
    return generator.permutation(np.concatenate([np.empty(0, np.int64), *chosen]))


def images_to_map(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], count: int = MOST_MAPPED
) -> NDArray[np.int64]:
    """Positions of images in turn: of each class one that the model is wrong about, one that it is right about.

    The surest of each kind first.

    Args:
        labels: (n,) true classes.
        probabilities: (n, C) of the model.
        count: At most so many.
    """
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    queues = []
    for wanted in (False, True):
        for label in np.unique(labels):
            of_kind = np.flatnonzero((labels == label) & (right == wanted))
            queues.append(of_kind[np.argsort(-sure[of_kind], kind="stable")])
    return np.array([*_in_turn(queues)][:count], dtype=np.int64)


def embedded(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float64]:
    """(n, F) features in a plane, by t-SNE (van der Maaten and Hinton 2008) on their principal components.

    Equal ones share a place.

    Raises:
        ValueError: Fewer than 5 of them differ, or one is not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, but some are not")
    different, place_of = np.unique(features, axis=0, return_inverse=True)
    if len(different) < _LEAST_EMBEDDED:
        raise ValueError(f"t-SNE needs {_LEAST_EMBEDDED} images whose features differ, but got {len(different)}")
    scaled = StandardScaler().fit_transform(different.astype(np.float64))
    with threadpool_limits(1):  # on busy cores its threads wait for each other: 131 s where one takes 8
        reduced = PCA(min(_COMPONENTS, *scaled.shape), random_state=seed).fit_transform(scaled)
        if reduced[:, 0].std() < _LEAST_SPREAD:  # scikit-learn would divide by it, and its tree end the process
            raise ValueError("features are all but the same for all images")
        plane = TSNE(
            perplexity=min(PERPLEXITY, (len(different) - 1) / 3),
            init="pca" if reduced.shape[1] > 1 else "random",
            method="exact" if len(different) < _EXACT_BELOW else "barnes_hut",
            max_iter=_STEPS,
            random_state=seed,
        )
        points = np.asarray(plane.fit_transform(reduced), dtype=np.float64)
    placed: NDArray[np.float64] = points[place_of.reshape(-1)]
    return placed


def _in_turn(queues: list[NDArray[np.int64]]) -> Iterator[int]:
    for place in range(max(map(len, queues), default=0)):
        for queue in queues:
            if place < len(queue):
                yield int(queue[place])
