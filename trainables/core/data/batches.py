"""Batches for training: plain rows of a table, or augmented images.

On the CPU, threads augment one image at a time, one batch ahead. On a GPU, each batch is augmented there as a whole.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import chain, pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.batched.batch_augmenter import BatchAugmenter, Parameters
from trainables.core.data.augment.batched.operation import Pixels
from trainables.core.device import free_memory, memory_errors

logger = logging.getLogger("trainables")
Batch = tuple[Tensor, Tensor]
Sizes = int | list[int]  # as for torch.split: rows per batch, of which the last may be smaller, or rows of each batch
# Share of the free GPU memory that one table may take. The rest is for the model and for trials on the same GPU.
RESIDENT_SHARE = 0.25
_DRAWN_BATCHES = 64  # batches whose augmentation is drawn, and copied to a GPU, in one go


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


class Shown(NamedTuple):
    """Images to show, in order.

    Attributes:
        rows: (n,) int64 indices of the images.
        draws: (n,) int64, how often each image was shown earlier in the epoch.
    """

    rows: NDArray[np.int64]
    draws: NDArray[np.int64]

    @classmethod
    def of(cls, order: NDArray[np.int64]) -> Self:
        """Return the images of an epoch, given their (n,) indices in order."""
        by_image = np.argsort(order, kind="stable")
        images = order[by_image]
        draws = np.empty(len(order), dtype=np.int64)
        draws[by_image] = np.arange(len(order)) - np.searchsorted(images, images)
        return cls(order, draws)

    def take(self, positions: NDArray[np.int64]) -> Self:
        """Return the images at some positions."""
        return type(self)(self.rows[positions], self.draws[positions])


def positions_of(numbers: Sequence[int] | None, sizes: Sizes, count: int) -> NDArray[np.int64]:
    """Return the positions of the images of some batches.

    Args:
        numbers: Numbers of the batches, from 0, in ascending order; None for all.
        sizes: Images per batch.
        count: Number of images of all batches.
    """
    positions = np.arange(count)
    parts = torch.split(torch.from_numpy(positions), sizes)
    return positions if numbers is None else np.concatenate([positions[:0], *(parts[number] for number in numbers)])


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a read-only mapped array as a tensor, without copying. The tensor must never be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def fits(size: int, device: torch.device) -> bool:
    """Return True if the device is a GPU with room for ``size`` bytes beside a model."""
    return device.type == "cuda" and size <= RESIDENT_SHARE * free_memory(device)


def resident(table: Table, device: torch.device) -> Table:
    """Return the table on the device if it fits there, else unchanged."""
    size = table.inputs.nbytes + table.targets.nbytes
    if not fits(size, device):
        return table
    try:
        with memory_errors():
            return table._replace(inputs=table.inputs.to(device), targets=table.targets.to(device))
    except torch.OutOfMemoryError:  # another trial on the same GPU was faster
        logger.info("%.1f MB of images or features stay in the CPU's memory: the GPU's is full", size / 1e6)
        return table


def to_device(on_cpu: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on the device. To a GPU, each batch is copied while the one before it is used.

    The copies run on a stream of their own, from pinned memory, so neither the CPU nor the GPU's kernels wait for them.
    Batches that are already on the device are yielded as they are.
    """
    if device.type != "cuda":
        yield from ((inputs.to(device), targets.to(device)) for inputs, targets in on_cpu)
        return
    stream = _copy_stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for inputs, targets in on_cpu:
        if inputs.is_cuda:
            yield inputs, targets
            continue
        with torch.cuda.stream(stream):
            copied = tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in (inputs, targets))
            event = stream.record_event()
        if ahead is not None:
            yield _ready(*ahead)
        ahead = (copied[0], copied[1]), event
    if ahead is not None:
        yield _ready(*ahead)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that copies to a GPU; there is one, because each keeps freed memory of its own for reuse."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _ready(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """Make the current stream wait for a batch that another stream copies, and use its memory."""
    stream = torch.cuda.current_stream(batch[0].device)
    stream.wait_event(copied)
    for tensor in batch:
        tensor.record_stream(stream)  # so that its memory is not reused before this stream is done with it
    return batch


def batches(table: Table, order: NDArray[np.int64], sizes: Sizes) -> Iterator[Batch]:
    """Yield rows unchanged, in the given order.

    Args:
        table: Rows to draw from.
        order: Indices of the rows to yield.
        sizes: Rows per batch.

    Yields:
        ((B, ...) inputs, (B, ...) targets) on the table's device, as copies: networks may change inputs
            in place.
    """
    indices = torch.from_numpy(order)
    if table.inputs.is_cuda:
        indices = indices.pin_memory().to(table.inputs.device, non_blocking=True)
    for rows in torch.split(indices, sizes):
        inputs = table.inputs.index_select(0, rows)  # each table row is contiguous: a plain memory copy
        yield inputs.permute(0, 3, 1, 2) if table.channels_last else inputs, table.targets.index_select(0, rows)


def augmented_batches(
    images: NDArray[np.uint8],
    targets: NDArray[Any],
    shown: Shown,
    sizes: Sizes,
    augment: Augmenter,
    epoch: int,
    threads: int,
) -> Iterator[Batch]:
    """Yield batches like ``batches``, with every image augmented. The next batch is prepared while this one is used.

    An image that a sampler draws several times in an epoch looks different each time. Targets are (N,) or (N, L)
    labels, or (N, S, S) masks, which are transformed with their images.
    """

    def one(index: int, draw: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        if targets.ndim < 3:
            return augment(images[index], index, epoch, draw), targets[index]
        return augment.pair(images[index], targets[index], index, epoch, draw)

    def submit(rows: Tensor, draws: Tensor) -> list["Future[tuple[NDArray[np.uint8], NDArray[Any]]]"]:
        return [pool.submit(one, *chosen) for chosen in zip(rows.tolist(), draws.tolist(), strict=True)]

    parts = zip(*(torch.split(torch.from_numpy(array), sizes) for array in shown), strict=True)
    with ThreadPoolExecutor(threads) as pool:
        for now, _ in pairwise(chain((submit(*part) for part in parts), [[]])):  # submits one batch ahead
            inputs, wanted = zip(*(future.result() for future in now), strict=True)
            yield torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(wanted))


def augmented_on_device(
    table: Table, shown: Shown, sizes: Sizes, augment: BatchAugmenter, epoch: int, device: torch.device
) -> Iterator[Batch]:
    """Yield batches like ``augmented_batches``, but augment each of them as a whole, on the device.

    Args:
        table: uint8 images, with labels or masks, on the device or on the CPU.
        shown: Images to yield.
        sizes: Images per batch.
        augment: Augmenter with the seed of the training.
        epoch: Epoch, from 1.
        device: Device to augment on.
    """

    def parameters() -> Iterator[Parameters]:
        parts = torch.split(torch.arange(len(shown.rows)), sizes)
        for first in range(0, len(parts), _DRAWN_BATCHES):
            some = parts[first : first + _DRAWN_BATCHES]
            drawn = augment.draw(*shown.take(torch.cat(some).numpy()), epoch)
            yield from drawn.to(device).split([len(part) for part in some])

    on_device = to_device(batches(table, shown.rows, sizes), device)
    for (images, targets), drawn in zip(on_device, parameters(), strict=True):
        masks = targets if targets.ndim == 3 else None
        changed = augment(Pixels(images, masks), drawn)
        yield changed.images, targets if changed.masks is None else changed.masks


def drawn_variants(shown: Shown, augment: Augmenter | BatchAugmenter, epoch: int) -> NDArray[np.int64]:
    """Return the images that an epoch mirrors under the policy ``flip``.

    Args:
        shown: n images.
        augment: Augmenter with the seed of the training.
        epoch: Epoch, from 1.

    Returns:
        (n,) 1 where the augmenter would show the mirror image, else 0.
    """
    return augment.flips(shown.rows, shown.draws, epoch).astype(np.int64)
