"""The interface between training and a task: its model, its batches, its loss and its scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import TrainConfig
from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.batched.batch_augmenter import BatchAugmenter
from trainables.core.data.augment.policies import PolicyOptions, source_size
from trainables.core.data.batches import (
    Batch,
    Shown,
    Table,
    as_tensor,
    augmented_batches,
    augmented_on_device,
    batches,
    positions_of,
    resident,
    to_device,
)
from trainables.core.data.channel_stats import channel_moments
from trainables.core.data.dataset import Dataset
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import build_network, check_batch_size
from trainables.core.training.losses import Loss
from trainables.core.training.mixing import Mix, mixed_images
from trainables.core.training.optimization.l2_sp import StartingPoint

# Types of devices that augment whole batches. On the CPU, albumentations changes one image at a time, since the results
# of fixed seeds depend on its draws.
BATCH_AUGMENTATION = ("cuda",)


class Scorer(ABC):
    """An accumulator of predictions over one pass, scored at its end.

    Attributes:
        records: Tensors to score, one tuple per batch, in order.
    """

    def __init__(self) -> None:
        self.records: list[tuple[Tensor, ...]] = []

    @abstractmethod
    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add the record of a batch, given its mean loss. Nothing waits for the device."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return ``loss`` (the mean over images) and all metrics; only ``loss`` if it is not finite."""


class Task(ABC):
    """The model, the batches, the loss and the scores of one configuration.

    Args:
        config: Configuration of the task.
        data: Data set to train on.
        device: Device to train on.

    Attributes:
        model: Model on the device.
        loss: Function from the logits and targets of a batch to a scalar.
    """

    model: PixelNetwork
    loss: Loss

    def __init__(self, config: TrainConfig, data: Dataset, device: torch.device):
        self._config, self._data, self._device = config, data, device
        self.model = build_network(config, len(data.class_names))
        check_batch_size(config)
        if config.normalize == "dataset":
            self.model.set_normalisation(*channel_moments(data, config.image_size))
        self.model.to(device).to(memory_format=torch.channels_last)
        self._fit, self._tune = data.splits["fit"], data.splits["tune"]
        self._augment = self._build_augmenter()

    def start_epoch(self, epoch: int) -> None:  # noqa: B027
        """Prepare the model for an epoch (from 1), as a function of its number."""

    def mix(self, epoch: int, batch: int) -> Mix | None:  # noqa: ARG002
        """Draw how to mix the images of a training batch (from 0), a function of seed, epoch and batch; None if not."""
        return None

    def starting_point(self) -> StartingPoint | None:
        """Return the weights that training is pulled to, those that the model has now; None if there are none."""
        return None

    def forward(self, inputs: Tensor, mix: Mix | None = None) -> Tensor:
        """Return the logits of a batch's inputs, which are mixed first."""
        logits: Tensor = self.model(inputs if mix is None else mixed_images(inputs, mix))
        return logits

    @property
    def batches_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        return len(self._batch_sizes)

    def train_batches(self, epoch: int, numbers: Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield training batches of an epoch (from 1) on the device, a function of the seed and the epoch.

        Args:
            epoch: Epoch, from 1.
            numbers: Numbers of the batches to yield, from 0, in ascending order; None for all.
        """
        sizes, count = self._batch_sizes, sum(self._batch_sizes)
        shown = Shown.of(self._order(epoch)[:count]).take(positions_of(numbers, sizes, count))
        own = sizes if numbers is None else [sizes[number] for number in numbers]
        return to_device(self._drawn_batches(shown, own, epoch), self._device)

    def batch_weights(self, epoch: int) -> NDArray[np.float64]:
        """Return what the loss of each batch of an epoch is a mean over: its images, or the sum of their weights.

        Batches of one optimizer step count by it, so that a step does not depend on how its images are divided.
        """
        sizes = self._batch_sizes
        order = self._order(epoch)[: sum(sizes)]
        weights: NDArray[np.float64] = np.add.reduceat(
            self._image_weights()[order], np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        )
        return weights

    @property
    def tune_batch_count(self) -> int:
        """The number of batches of ``tune``; the last may be smaller."""
        return -(-len(self._tune) // self._config.batch_size)

    def tune_batches(self, numbers: Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield batches of ``tune`` on the device, in order, without augmentation; ``numbers`` as in training."""
        table, rows = self._tune_rows()
        count = self._config.batch_size
        chosen = rows[positions_of(numbers, count, len(rows))]
        return to_device(batches(table, chosen, count), self._device)

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return a new accumulator of predictions."""

    def tune_scorer(self) -> Scorer:
        """Return a new accumulator of the predictions of ``tune``, in order."""
        return self.scorer()

    @abstractmethod
    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch in order, as positions in ``fit``."""

    @abstractmethod
    def _targets(self, size: int) -> NDArray[Any]:
        """Return the targets of all N images, as in ``Table``, for images with a side of ``size`` pixels."""

    def _image_weights(self) -> NDArray[np.float64]:
        """Return the weight of each image of ``fit`` in the loss of its batch."""
        return np.ones(len(self._fit))

    def _build_augmenter(self, erasing: float = 0.0) -> Augmenter | BatchAugmenter:
        config = self._config
        build = BatchAugmenter if self._device.type in BATCH_AUGMENTATION else Augmenter
        options = PolicyOptions(config.image_size, config.rand_augment_ops, config.rand_augment_magnitude)
        return build(config.augmentation, options, config.seed, erasing)

    @cached_property
    def _batch_sizes(self) -> list[int]:
        """The number of images in each training batch of an epoch.

        Batch norm cannot train on a batch of one image. So an epoch omits an image that would be its last optimizer
        step, and adds one that would be the last batch of a step to the batch before it. That depends only on the
        images of a step, so halving a batch and doubling the accumulation changes no step.
        """
        size, step = self._config.batch_size, self._config.batch_size * self._config.accumulate_steps
        count = len(self._fit)
        full, rest = divmod(count - (step > 1 and count % step == 1), size)
        return [size] * (full - 1) + [size + 1] if rest == 1 else [size] * full + [rest] * (rest > 0)

    def _tune_rows(self) -> tuple[Table, NDArray[np.int64]]:
        """Return the table that holds ``tune``, and its rows there."""
        return self._pixels, self._tune

    def _drawn_batches(self, shown: Shown, sizes: list[int], epoch: int) -> Iterator[Batch]:
        """Yield the batches of images, given as positions in ``fit``, and the number of images of each batch."""
        drawn = shown._replace(rows=self._fit[shown.rows])
        if self._augment.is_identity:
            return batches(self._pixels, drawn.rows, sizes)
        if isinstance(self._augment, BatchAugmenter):
            return augmented_on_device(self._sources, drawn, sizes, self._augment, epoch, self._device)
        size = self._source_size
        images, targets = self._data.images(size), self._targets(size)
        return augmented_batches(images, targets, drawn, sizes, self._augment, epoch, torch.get_num_threads())

    @property
    def _source_size(self) -> int:
        return source_size(self._config.augmentation, self._config.image_size)

    @cached_property
    def _pixels(self) -> Table:
        return self._table(self._config.image_size)

    @cached_property
    def _sources(self) -> Table:
        """The images that batches are augmented from."""
        return self._pixels if self._source_size == self._config.image_size else self._table(self._source_size)

    def _table(self, size: int) -> Table:
        table = Table(as_tensor(self._data.images(size)), as_tensor(self._targets(size)))
        return resident(table, self._device)
