"""Whether probabilities mean what they say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Probabilities

BINS = 15
_SIDE, _MARGIN = 320, 40


@dataclass(frozen=True)
class Bin:
    """The images whose likeliest class has a probability within (``above``, ``up_to``].

    Attributes:
        above: Lower edge.
        up_to: Upper edge.
        count: Images, at least 1.
        confidence: The mean of these probabilities.
        accuracy: The share that is right.
    """

    above: float
    up_to: float
    count: int
    confidence: float
    accuracy: float


def reliability(probabilities: Probabilities, labels: NDArray[np.int64], bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of a reliability diagram, equally wide, without empty ones, of (N, C) and (N,)."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    return tuple(
        Bin(
            float(edges[index]),
            float(edges[index + 1]),
            int((place == index).sum()),
            float(sure[place == index].mean()),
            float(right[place == index].mean()),
        )
        for index in np.unique(place)
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """The mean distance of confidence and accuracy, bins weighted by their images (Naeini et al. 2015)."""
    total = sum(bin_.count for bin_ in bins)
    return sum(bin_.count * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / total


def brier_scores(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) squared distances of (N, C) probabilities from the truth, summed over classes: 0 to 2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    distances: NDArray[np.float64] = np.square(probabilities - truth).sum(axis=1)
    return distances


def reliability_diagram(bins: tuple[Bin, ...]) -> str:
    """A reliability diagram as SVG: accuracy by confidence, a bar a bin as dark as it has images, and the diagonal."""
    most = max(bin_.count for bin_ in bins)
    bars = [
        f'<rect x="{_across(bin_.above):.1f}" y="{_up(bin_.accuracy):.1f}" '
        f'width="{_SIDE * (bin_.up_to - bin_.above) - 1:.1f}" height="{_SIDE * bin_.accuracy:.1f}" fill="#4477aa" '
        f'fill-opacity="{0.25 + 0.75 * bin_.count / most:.2f}">'
        f"<title>{bin_.count} images: confidence {bin_.confidence:.3f}, accuracy {bin_.accuracy:.3f}</title></rect>"
        for bin_ in bins
    ]
    ticks = [
        f'<text x="{_across(tick):.1f}" y="{_up(0) + 15:.1f}" text-anchor="middle">{tick:g}</text>'
        f'<text x="{_MARGIN - 6}" y="{_up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in (0, 0.5, 1)
    ]
    size = _SIDE + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{size}" height="{size}" fill="white"/>',
            *bars,
            f'<path d="M{_across(0)} {_up(0)}L{_across(1)} {_up(1)}" stroke="black" stroke-dasharray="4"/>',
            f'<path d="M{_across(0)} {_up(1)}V{_up(0)}H{_across(1)}" stroke="black" fill="none"/>',
            *ticks,
            f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">confidence</text>',
            f'<text x="{_MARGIN}" y="{_MARGIN - 12}" text-anchor="middle">accuracy</text>',
            "</svg>",
        ]
    )


def _across(share: float) -> float:
    return _MARGIN + _SIDE * share


def _up(share: float) -> float:
    return _MARGIN + _SIDE * (1 - share)
