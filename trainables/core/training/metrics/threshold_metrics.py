"""Metrics of scores against a yes or no for each image, over all thresholds and on R resamples at once."""

import numpy as np
from numpy.typing import NDArray


def threshold_counts(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], draws: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count (R, T) positives and negatives among the images that score at least each of T thresholds, highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores share a threshold
    drawn = draws[:, order]
    counted, hits = (np.cumsum(part, axis=1)[:, last] for part in (drawn, drawn * positive[order]))
    return hits, counted - hits


def average_precision(hits: NDArray[np.int64], misses: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the (R,) mean precision over the positives; 0 without positives, NaN without negatives."""
    precision = hits / np.maximum(hits + misses, 1)
    new = np.diff(hits, prepend=0).astype(np.float64)
    area: NDArray[np.float64] = np.vecdot(new, precision) / np.maximum(hits[:, -1], 1)
    return np.where(misses[:, -1] > 0, area, np.nan)


def auroc(hits: NDArray[np.int64], misses: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the (R,) area under the ROC curve; 0 without positives, NaN without negatives."""
    before = np.pad(hits[:, :-1], ((0, 0), (1, 0)))
    area = (np.diff(misses, prepend=0) * (hits + before)).sum(axis=1) / 2
    pairs = np.maximum(hits[:, -1], 1) * misses[:, -1]
    return np.where(pairs > 0, area / np.maximum(pairs, 1), np.nan)


def sensitivity(hits: NDArray[np.int64], misses: NDArray[np.int64], specificity: float = 0.95) -> NDArray[np.float64]:
    """Compute the (R,) largest share of positives found by a threshold with at least this specificity."""
    allowed = misses <= (1 - specificity) * misses[:, -1:] + 1e-9  # tolerates rounding
    share = np.max(hits * allowed, axis=1) / np.maximum(hits[:, -1], 1)
    return np.where((hits[:, -1] > 0) & (misses[:, -1] > 0), share, np.nan)
