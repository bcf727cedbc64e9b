"""Batches of uint8 pixels: read from the memmap, augmented on threads one batch ahead."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.augment import Augmenter

Batch = tuple[Tensor, Tensor]


def batches(
    images: NDArray[np.uint8], labels: NDArray[np.int64], order: NDArray[np.int64], batch_size: int
) -> Iterator[Batch]:
    """Yields the images as they are, in the given order.

    Args:
        images: (N, S, S, channels) uint8.
        labels: (N,) int64.
        order: Indices of the images to show.
        batch_size: Images in a batch; the last batch may be smaller.

    Yields:
        ((B, S, S, channels) uint8, (B,) int64) on the CPU.
    """
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen])


def augmented_batches(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    order: NDArray[np.int64],
    batch_size: int,
    augment: Augmenter,
    epoch: int,
    threads: int,
) -> Iterator[Batch]:
    """As ``batches``, with every image augmented; the next batch is made while the caller uses this one.

    An image that a sampler draws several times in an epoch looks different each time.
    """
    drawn: Counter[int] = Counter()

    def submit(start: int) -> list["Future[NDArray[np.uint8]]"]:
        futures = []
        for index in order[start : start + batch_size].tolist():
            futures.append(pool.submit(augment, images[index], index, epoch, drawn[index]))
            drawn[index] += 1
        return futures

    with ThreadPoolExecutor(threads) as pool:
        ahead = submit(0)
        for start in range(0, len(order), batch_size):
            now, ahead = ahead, submit(start + batch_size)
            pixels = np.stack([future.result() for future in now])
            yield torch.from_numpy(pixels), torch.from_numpy(labels[order[start : start + batch_size]])
