"""Batches for training: plain rows of a table, or images augmented by threads one batch ahead."""

import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.augment import Augmenter

Batch = tuple[Tensor, Tensor]
# Share of the free GPU memory that one table may take. The rest is for the model and for trials on the same GPU.
RESIDENT_SHARE = 0.25


class Table(NamedTuple):
    """Rows to draw batches from, on one device.

    Attributes:
        inputs: (N, ...).
        targets: (N,) or (N, L) int64 labels, or (N, S, S) uint8 masks.
        channels_last: True if inputs are stored as (N, H, W, C) and batches must be viewed as (B, C, H, W).
    """

    inputs: Tensor
    targets: Tensor
    channels_last: bool = False


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a read-only mapped array as a tensor, without copying. The tensor must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def fits(size: int, device: torch.device) -> bool:
    """Return True if the device is a GPU with room for ``size`` bytes beside a model."""
    return device.type == "cuda" and size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def resident(table: Table, device: torch.device) -> Table:
    """Return the table on the device if it fits there, else unchanged."""
    if not fits(table.inputs.nbytes + table.targets.nbytes, device):
        return table
    return table._replace(inputs=table.inputs.to(device), targets=table.targets.to(device))


def batches(table: Table, order: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
    """Yield rows unchanged, in the given order.

    Args:
        table: Rows to draw from.
        order: Indices of the rows to yield.
        batch_size: Rows per batch. The last batch may be smaller.

    Yields:
        ((B, ...) inputs, (B, ...) targets) on the table's device, as copies: networks may change inputs
            in place.
    """
    for rows in torch.split(torch.from_numpy(order).to(table.inputs.device), batch_size):
        inputs = table.inputs.index_select(0, rows)  # each table row is contiguous: a plain memory copy
        yield inputs.permute(0, 3, 1, 2) if table.channels_last else inputs, table.targets.index_select(0, rows)


def augmented_batches(
    images: NDArray[np.uint8],
    targets: NDArray[Any],
    order: NDArray[np.int64],
    batch_size: int,
    augment: Augmenter,
    epoch: int,
    threads: int,
) -> Iterator[Batch]:
    """Yield batches like ``batches``, with every image augmented. The next batch is prepared while this one is used.

    An image that a sampler draws several times in an epoch looks different each time. Targets are (N,) or (N, L)
    labels, or (N, S, S) masks, which are transformed with their images.
    """
    draws = _count_draws(order)

    def one(index: int, draw: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        if targets.ndim < 3:
            return augment(images[index], index, epoch, draw), targets[index]
        return augment.pair(images[index], targets[index], index, epoch, draw)

    def submit(start: int) -> list["Future[tuple[NDArray[np.uint8], NDArray[Any]]]"]:
        chosen = zip(order[start : start + batch_size].tolist(), draws[start : start + batch_size], strict=True)
        return [pool.submit(one, index, draw) for index, draw in chosen]

    with ThreadPoolExecutor(threads) as pool:
        ahead = submit(0)
        for start in range(0, len(order), batch_size):
            now, ahead = ahead, submit(start + batch_size)
            inputs, wanted = zip(*(future.result() for future in now), strict=True)
            yield torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(wanted))


def drawn_variants(order: NDArray[np.int64], augment: Augmenter, epoch: int) -> NDArray[np.int64]:
    """Return the images that an epoch mirrors, for policies that only flip.

    Args:
        order: (n,) indices of the images to show.
        augment: Augmenter of the policy ``none`` or ``flip``.
        epoch: Epoch, from 1.

    Returns:
        (n,) 1 where ``augmented_batches`` would show the mirror image, else 0.
    """
    marker = np.array([[[0], [1]]], dtype=np.uint8)  # the first pixel becomes 1 if the image is mirrored
    chosen = zip(order.tolist(), _count_draws(order), strict=True)
    return np.array([augment(marker, index, epoch, draw)[0, 0, 0] for index, draw in chosen], dtype=np.int64)


def _count_draws(order: NDArray[np.int64]) -> list[int]:
    """Return, for each entry, how often its image occurs earlier in ``order``."""
    count: Counter[int] = Counter()
    draws = []
    for index in order.tolist():
        draws.append(count[index])
        count[index] += 1
    return draws
