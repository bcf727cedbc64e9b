"""Recognition of images that are upside down, by a linear discriminant (Fisher 1936) of coarse pictures."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_RIDGE = 0.1  # share of the mean variance that is added to each variance
_FEWEST = 20  # images of each half of the groups
_SLACK, _LEAST_SHARE = 1.25, 0.5
_LEAST_DIFFERENCE = 0.2  # of an image's standard deviation: images may be off centre by a pixel, always the same way


@dataclass(frozen=True)
class Upright:
    """Discriminant whose score is the negative for the same image upside down.

    Attributes:
        weights: (S * S) weights of the difference between the upper and the lower half; empty if the training images
            have no usual side up.
        lowest: Score below which an image is upside down.
    """

    weights: tuple[float, ...] = ()
    lowest: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Rebuild from the result of ``to_dict``, also after JSON."""
        return cls(tuple(map(float, raw["weights"])), float(raw["lowest"]))

    def is_upside_down(self, coarse: Values) -> NDArray[np.bool_]:
        """Return True for each of (n, S * S) coarse pictures that is upside down."""
        if not self.weights:
            return np.zeros(len(coarse), dtype=np.bool_)
        found: NDArray[np.bool_] = _differences(coarse) @ np.array(self.weights) < self.lowest
        return found


def upside_down(coarse: Values) -> tuple[Values, Values]:
    """Return (n, S * S) coarse pictures upside down: mirrored, and turned by half a turn."""
    side = round(coarse.shape[1] ** 0.5)
    return coarse.reshape(-1, side, side)[:, ::-1].reshape(coarse.shape), coarse[:, ::-1]


def upright_of(coarse: Values, groups: NDArray[np.int64]) -> Upright:
    """Return the discriminant of (n, S * S) coarse pictures, learnt on half of the groups and tested on the others."""
    first_half = np.unique(groups, return_inverse=True)[1] % 2 == 0
    if min(first_half.sum(), (~first_half).sum()) < _FEWEST:
        return Upright()
    differences = _differences(coarse)
    usual = differences[first_half].mean(axis=0)
    if np.sqrt((usual**2).mean()) < _LEAST_DIFFERENCE:
        return Upright()
    covariance = np.cov(differences[first_half].T)
    ridge = max(_RIDGE * np.trace(covariance) / len(covariance), 1e-6) * np.eye(len(covariance))
    weights = np.linalg.solve(covariance + ridge, usual)
    scores = differences[~first_half] @ weights
    lowest = min(_SLACK * float(np.quantile(scores, 0.005)), -0.1 * float(np.median(scores)))
    if np.median(scores) <= 0 or (-scores < lowest).mean() < _LEAST_SHARE:
        return Upright()
    return Upright(tuple(weights.round(6).tolist()), round(lowest, 6))


def _differences(coarse: Values) -> Values:
    """Return each picture minus itself upside down, with left and right averaged."""
    mirrored, half_turned = upside_down(coarse)
    return (coarse + mirrored[:, ::-1] - mirrored - half_turned) / 2
