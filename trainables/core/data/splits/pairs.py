"""Pairs of similar images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two similar images.

    Attributes:
        first, second: Indices.
        similarity: Similarity in [0, 1] at the best alignment.
        degrees: Counter-clockwise rotation of the second image relative to the first.
        mirrored: True if the second image was then mirrored about the horizontal axis.
        zoom: Enlargement of the second image relative to the first.
    """

    first: int
    second: int
    similarity: float
    degrees: float
    mirrored: bool
    zoom: float = 1.0
