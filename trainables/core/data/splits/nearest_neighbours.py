"""Nearest neighbours of raw pixels, whose labels give the score of pure memorisation."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_QUERIES, _GALLERY = 512, 4096  # images per block


def nearest_neighbours(
    pixels: NDArray[np.uint8],
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return, for each query, the gallery image whose pixels correlate most with it.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        queries: (Q,) indices.
        gallery: (G,) indices.
        groups: (T, N) of T groupings, or None. Images of the query's own group are excluded.

    Returns:
        (T, Q) indices, or (1, Q) without groups; -1 if all gallery images are in the query's own group.
    """
    groupings = np.arange(len(pixels))[None] if groups is None else groups
    found = np.full((len(groupings), len(queries)), -1)
    nearest = np.full((len(groupings), len(queries)), -np.inf, dtype=np.float32)
    for top in range(0, len(queries), _QUERIES):
        rows = slice(top, top + _QUERIES)
        query_pixels = _normalised(pixels[queries[rows]])
        for left in range(0, len(gallery), _GALLERY):
            block = gallery[left : left + _GALLERY]
            correlation = (query_pixels @ _normalised(pixels[block]).T).numpy()
            for way, group in enumerate(groupings):
                outside = np.where(group[queries[rows], None] == group[block], -np.inf, correlation)
                best = outside.argmax(1)
                value = outside[np.arange(len(best)), best]
                closer = value > nearest[way, rows]
                found[way, rows][closer] = block[best][closer]
                nearest[way, rows][closer] = value[closer]
    return found


def _normalised(images: NDArray[np.uint8]) -> "torch.Tensor":
    import torch  # takes seconds, and data are described before it is needed

    flat: torch.Tensor = torch.from_numpy(images.astype(np.float32)).flatten(1)
    flat -= flat.mean(1, keepdim=True)
    flat /= flat.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return flat
