"""Split conformal prediction for images in groups.

The plain method (Angelopoulos and Bates 2023) needs exchangeable images, but images of one patient are alike. Here only
the groups are exchangeable, and the images within each (hierarchical conformal prediction: Lee, Barber and Willett
2023). Each group then counts once, however many images it has, and the promise is for a random image of a new group.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

_ROUNDING = 1e-12
_MOST_MISSES = 60  # with which the coverage is always near the promise


def lowest_probability(true_class: NDArray[np.floating], groups: NDArray[np.int64], coverage: float) -> float:
    """Return the threshold that the probability of the true class reaches for a share ``coverage`` of new groups.

    With K groups of n_k images, an image of a new group is one of n images of the last of K + 1 exchangeable groups.
    Its probability is therefore at least the threshold t with probability ``coverage`` or more if the calibration
    images that reach t have a total weight of at least ``coverage``, each weighing 1 / ((K + 1) n_k).

    Args:
        true_class: (N,) probabilities of the true class.
        groups: (N,) group of each image.
        coverage: Share to reach, between 0 and 1.

    Returns:
        The highest such threshold, one of the probabilities as float32; 0 with too few groups (``fewest_groups``).
    """
    _, position, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    values = true_class.astype(np.float32)
    order = np.argsort(-values, kind="stable")
    reached = np.cumsum(1 / ((len(sizes) + 1) * sizes[position[order]]))
    enough = np.flatnonzero(reached >= coverage - _ROUNDING)
    return float(values[order[enough[0]]]) if len(enough) else 0.0


def fewest_groups(coverage: float) -> int:
    """Return the number of groups with which a threshold above 0 can promise a coverage."""
    return math.ceil(coverage / (1 - coverage) - _ROUNDING / (1 - coverage))


def groups_to_promise(coverage: float) -> int:
    """Return the number of groups from which on the coverage of new groups is rarely far below the promise.

    The promise is an average over calibration samples. With K groups of one image, the coverage that one sample leads
    to has the distribution Beta(K + 1 - l, l) with l = floor((K + 1) (1 - coverage)) (Vovk 2012). For 95% of the
    samples, the share of sets without the true class must be at most twice the promised one.
    """
    missed = 1 - coverage
    counts = np.arange(fewest_groups(coverage), _MOST_MISSES / missed)
    misses = np.floor((counts + 1) * missed + _ROUNDING)
    too_few = counts[beta.ppf(0.05, counts + 1 - misses, misses) < 1 - 2 * missed]
    return int(max(too_few, default=counts[0] - 1)) + 1
