"""What training needs to know of a kind of problem: how a batch is made, what the loss is, how predictions score."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import TrainConfig
from trainables.core.data.augment import Augmenter, source_size
from trainables.core.data.batches import Batch, Table, as_tensor, augmented_batches, batches, resident
from trainables.core.data.channel_stats import channel_moments
from trainables.core.data.dataset import Dataset
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.build import build_network
from trainables.core.training.losses import Loss


class Scorer(Protocol):
    """Collects a pass's predictions and scores them at its end."""

    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch and its loss."""
        ...

    def compute(self) -> dict[str, float]:
        """``loss`` (the mean of batches, by size) and every metric; where the loss is not finite, nothing else."""
        ...


class Task(ABC):
    """The model of one configuration, its batches, its loss and its scores.

    Attributes:
        model: On the device.
        loss: From a batch's logits and targets to a scalar.
    """

    model: PixelNetwork
    loss: Loss

    def __init__(self, config: TrainConfig, data: Dataset, device: torch.device):
        self._config, self._data, self._device = config, data, device
        self.model = build_network(config, len(data.class_names))
        if config.normalize == "dataset":
            self.model.normalise_by(*channel_moments(data, config.image_size))
        self.model.to(device).to(memory_format=torch.channels_last)
        self._fit, self._tune = data.splits["fit"], data.splits["tune"]
        self._augment = Augmenter(config.augmentation, config.image_size, config.seed)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the logits of a batch's inputs."""
        logits: Tensor = self.model(inputs)
        return logits

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch of training, the last of which may be smaller, but never a single image."""
        return -(-self._images_per_epoch // self._config.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch (from 1) on the device: the same for the same seed and epoch."""
        return self._to_device(self._drawn_batches(self._order(epoch)[: self._images_per_epoch], epoch))

    def tune_batches(self) -> Iterator[Batch]:
        """The ``tune`` split on the device, in order, without augmentation."""
        return self._to_device(batches(self._pixels, self._tune, self._config.batch_size))

    @abstractmethod
    def scorer(self) -> Scorer:
        """A fresh accumulator of one pass's predictions."""

    @abstractmethod
    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Which images an epoch shows, and in which order, as positions in ``fit``."""

    @abstractmethod
    def _targets(self, size: int) -> NDArray[Any]:
        """Of all N images, as ``Table`` has them, at a side of ``size`` pixels."""

    @property
    def _images_per_epoch(self) -> int:
        # Batch norm cannot train on a batch of one, so an image that would be left alone sits this epoch out.
        alone = len(self._fit) % self._config.batch_size == 1 and self._config.batch_size > 1
        return len(self._fit) - alone

    def _drawn_batches(self, order: NDArray[np.int64], epoch: int) -> Iterator[Batch]:
        drawn, policy, count = self._fit[order], self._config.augmentation, self._config.batch_size
        if policy == "none":
            return batches(self._pixels, drawn, count)
        size = source_size(policy, self._config.image_size)
        images, targets = self._data.images(size), self._targets(size)
        return augmented_batches(images, targets, drawn, count, self._augment, epoch, torch.get_num_threads())

    # Made when it is first asked for: by then a resumed trial has its own weights, on which outputs may depend.
    @cached_property
    def _pixels(self) -> Table:
        size = self._config.image_size
        table = Table(as_tensor(self._data.images(size)), as_tensor(self._targets(size)))
        return resident(table, self._device)

    def _to_device(self, on_cpu: Iterator[Batch]) -> Iterator[Batch]:
        for inputs, targets in on_cpu:
            yield inputs.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)
