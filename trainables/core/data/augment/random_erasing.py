"""Random erasing (Zhong et al. 2020): a random rectangle of an image is replaced by noise."""

import math
import random

import numpy as np
from numpy.typing import NDArray

# timm's defaults: the paper has areas of 0.02 to 0.4.
AREAS = (0.02, 1 / 3)
ASPECTS = (0.3, 1 / 0.3)
_ATTEMPTS = 10  # draws of a rectangle that is not larger than the image


def random_erasing(image: NDArray[np.uint8], probability: float, seed: int) -> NDArray[np.uint8]:
    """Erase a rectangle with the given probability, with every value drawn uniformly from 0..255.

    Args:
        image: (H, W, channels) uint8, which stays unchanged.
        probability: Probability in 0..1.
        seed: Seed of the draws.
    """
    box = erased_box(image.shape[0], image.shape[1], probability, random.Random(seed))
    if box is None:
        return image
    top, left, height, width = box
    erased = image.copy()
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, image.shape[2]), dtype=np.uint8)
    erased[top : top + height, left : left + width] = noise
    return erased


def erased_box(height: int, width: int, probability: float, draws: random.Random) -> tuple[int, int, int, int] | None:
    """Draw the top, left, height and width of a rectangle as timm's ``RandomErasing`` does; None erases nothing.

    Its share of the area is uniform, and its aspect ratio is uniform on a logarithmic scale.
    """
    if draws.random() > probability:
        return None
    for _ in range(_ATTEMPTS):
        area = draws.uniform(*AREAS) * height * width
        aspect = math.exp(draws.uniform(*map(math.log, ASPECTS)))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            return draws.randint(0, height - rows), draws.randint(0, width - columns), rows, columns
    return None
