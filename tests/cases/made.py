"""Small made-up images for odd data sets."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48


def picture(kind: int, seed: int, side: int = SIDE) -> np.ndarray:
    """Return a (side, side) uint8 picture of bright spots on noise, more of them for a larger kind."""
    generator = np.random.default_rng([kind, seed])
    rows, columns = np.mgrid[:side, :side] / side
    spots = np.zeros((side, side))
    for _ in range(3 + 2 * kind):
        row, column, radius = *generator.uniform(0.15, 0.85, 2), generator.uniform(0.05, 0.2)
        distance = (rows - row) ** 2 + (columns - column) ** 2
        spots += generator.uniform(0.4, 1) * np.exp(-distance / (2 * radius**2))
    noisy = 200 * spots / spots.max() + generator.normal(20, 8, spots.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def mask(seed: int) -> np.ndarray:
    """Return a (SIDE, SIDE) mask of a disc, 0 and 1."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    row, column, radius = *generator.integers(12, 36, 2), generator.integers(5, 12)
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.uint8)


def save(pixels: np.ndarray | Image.Image, file: Path, **options: object) -> None:
    """Save an image under a name, in folders that are made if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, **options)
