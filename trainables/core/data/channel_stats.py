"""Mean and standard deviation of a data set's channels."""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.dataset import Dataset

_BATCH, _FILE = 64, "moments.json"
_LEAST_STD = 1 / 255  # for nearly constant channels
Moments = tuple[tuple[float, ...], tuple[float, ...]]


def channel_moments(data: Dataset, size: int) -> Moments:
    """Return mean and standard deviation of three channels over the training images, computed once per node.

    The training images are those of ``fit``: a fold's own images are held out from its statistics too.

    Args:
        data: Data set.
        size: Side at which its images are decoded.

    Returns:
        Means and deviations of pixels in 0..1. A grey channel is repeated three times.
    """
    indices = data.splits["fit"]
    pixels, chosen = data.images(size), np.ascontiguousarray(indices, dtype="<i8")

    def write(folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(_moments(pixels, indices)))

    def read(folder: Path) -> Moments:
        mean, std = json.loads((folder / _FILE).read_text())
        return tuple(mean), tuple(std)

    key = f"moments-{data.images_key(size)}-{hashlib.sha256(chosen.tobytes()).hexdigest()[:16]}"
    return data.open_store().read(key, write, read, size=1000, needed=True)


def _moments(pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> Moments:
    histogram = np.zeros((pixels.shape[-1], 256))  # whole numbers, so the order of summation does not matter
    for start in range(0, len(indices), _BATCH):
        batch = pixels[indices[start : start + _BATCH]]
        histogram += [np.bincount(batch[..., channel].ravel(), minlength=256) for channel in range(len(histogram))]
    share, values = histogram / histogram.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ values
    std = np.maximum(np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1)), _LEAST_STD)
    repeats = 3 // len(histogram)
    return tuple(np.repeat(mean, repeats).tolist()), tuple(np.repeat(std, repeats).tolist())
