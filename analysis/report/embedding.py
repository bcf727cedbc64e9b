"""Choice of the images to embed and to explain, and the t-SNE embedding of their features."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from trainables.core.data.dataset import Dataset

MOST_EMBEDDED = 2000
MOST_EXPLAINED = 12
PERPLEXITY = 30.0
_LEAST_EMBEDDED = 5
_COMPONENTS = 50
_LEAST_SPREAD = 1e-9
_EXACT_BELOW = 200
_ITERATIONS = 500  # 4 s for 2,000 images on one CPU core


def images_to_embed(data: Dataset, count: int = MOST_EMBEDDED, seed: int = 0) -> NDArray[np.int64]:
    """Draw images of training and ``test``, in proportion to split and class, at least one of each.

    Args:
        data: Data set of the search.
        count: Largest number of images.
        seed: Random seed.

    Returns:
        Indices in random order, so that any first part of them is representative.
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


def images_to_explain(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], count: int = MOST_EXPLAINED
) -> NDArray[np.int64]:
    """Choose mistakes and correct predictions of every class in turn, most confident first.

    Args:
        labels: (n,) true classes.
        probabilities: (n, C) predictions of the model.
        count: Largest number of images.

    Returns:
        Positions among the n images: the top mistake of each class, the top correct prediction of each class, then
        the second of each, and so on.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    queues = []
    for outcome in (False, True):
        for label in np.unique(labels):
            positions = np.flatnonzero((labels == label) & (correct == outcome))
            queues.append(positions[np.argsort(-confidence[positions], kind="stable")])
    return np.array([*_round_robin(queues)][:count], dtype=np.int64)


def embed(features: NDArray[np.float32], seed: int = 0) -> NDArray[np.float64]:
    """Embed (n, F) features in a plane by t-SNE (van der Maaten and Hinton 2008) of their principal components.

    Returns:
        (n, 2) coordinates. Equal features get equal coordinates.

    Raises:
        ValueError: Fewer than 5 of the features differ, or one is not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, but some are not")
    distinct, position_of = np.unique(features, axis=0, return_inverse=True)
    if len(distinct) < _LEAST_EMBEDDED:
        raise ValueError(f"t-SNE needs {_LEAST_EMBEDDED} images with different features, but got {len(distinct)}")
    scaled = StandardScaler().fit_transform(distinct.astype(np.float64))
    with threadpool_limits(1):  # on busy cores, more threads wait for each other: 131 s instead of 8 s
        reduced = PCA(min(_COMPONENTS, *scaled.shape), random_state=seed).fit_transform(scaled)
        if reduced[:, 0].std() < _LEAST_SPREAD:  # scikit-learn divides by it, and its tree then crashes the process
            raise ValueError("features must differ between images, but are nearly the same for all")
        tsne = TSNE(
            perplexity=min(PERPLEXITY, (len(distinct) - 1) / 3),
            init="pca" if reduced.shape[1] > 1 else "random",
            method="exact" if len(distinct) < _EXACT_BELOW else "barnes_hut",
            max_iter=_ITERATIONS,
            random_state=seed,
        )
        points = np.asarray(tsne.fit_transform(reduced), dtype=np.float64)
    embedded: NDArray[np.float64] = points[position_of.reshape(-1)]
    return embedded


def _round_robin(queues: list[NDArray[np.int64]]) -> Iterator[int]:
    for rank in range(max(map(len, queues), default=0)):
        for queue in queues:
            if rank < len(queue):
                yield int(queue[rank])
