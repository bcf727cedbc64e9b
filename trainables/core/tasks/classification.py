"""Classification: one class an image."""

import logging
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import TrainConfig
from trainables.core.data.augment import Augmenter, source_size
from trainables.core.data.cache import Dataset
from trainables.core.data.folds import POOL
from trainables.core.data.loader import Batch, Table, as_tensor, augmented_batches, batches, drawn_variants, resident
from trainables.core.data.moments import channel_moments
from trainables.core.imbalance import class_weights, epoch_order
from trainables.core.losses import build_loss
from trainables.core.metrics import classification_metrics
from trainables.core.models.classifier import Classifier, build_classifier
from trainables.core.models.prefix import ORBITS, FrozenPrefix

logger = logging.getLogger("trainables")


class Classification:
    """The model of one configuration, its batches, its loss and its scores."""

    def __init__(self, config: TrainConfig, data: Dataset, device: torch.device):
        self._config, self._data, self._device = config, data, device
        self.model: Classifier = build_classifier(config, len(data.class_names))
        if config.normalize == "dataset":
            self.model.normalise_by(*channel_moments(data, config.image_size))
        self.model.to(device).to(memory_format=torch.channels_last)
        self._fit, self._tune = data.splits["fit"], data.splits["tune"]
        counts = np.bincount(data.labels[self._fit], minlength=len(data.class_names))
        weights = class_weights(config.class_weights, counts)
        self.loss = build_loss(config, None if weights is None else torch.from_numpy(weights).to(device))
        self._augment = Augmenter(config.augmentation, config.image_size, config.seed)
        self._prefix = FrozenPrefix(self.model, config, data, device) if config.freeze_depth else None
        self._pool = data.splits.get(POOL)  # of a fold: what all folds share the prefix's outputs of

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (B, C) logits of a batch: uint8 pixels, or what the store has of the frozen prefix's outputs."""
        logits: Tensor = self.model(inputs) if inputs.dtype == torch.uint8 else self.model.rest(inputs)
        return logits

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch of training, the last of which may be smaller, but never a single image."""
        return -(-self._images_per_epoch // self._config.batch_size)

    @property
    def _images_per_epoch(self) -> int:
        # Batch norm cannot train on a batch of one, so an image that would be left alone sits this epoch out.
        alone = len(self._fit) % self._config.batch_size == 1 and self._config.batch_size > 1
        return len(self._fit) - alone

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch (from 1) on the device: the same for the same seed and epoch."""
        config, labels, size = self._config, self._data.labels, self._config.batch_size
        order = epoch_order(config.sampler, labels[self._fit], config.seed, epoch)[: self._images_per_epoch]
        drawn = self._fit[order]
        if self._stored_fit is not None:
            variants = 0 if config.augmentation == "none" else drawn_variants(drawn, self._augment, epoch)
            rows, of_variant = self._rows(self._fit)
            return self._to_device(batches(self._stored_fit, rows[order] + of_variant * variants, size))
        if config.augmentation == "none":
            return self._to_device(batches(self._pixels, drawn, size))
        images = self._data.images(source_size(config.augmentation, config.image_size))
        threads = torch.get_num_threads()
        return self._to_device(augmented_batches(images, labels, drawn, size, self._augment, epoch, threads))

    def tune_batches(self) -> Iterator[Batch]:
        """The ``tune`` split on the device, in order, without augmentation."""
        if self._stored_tune is not None:
            rows, _ = self._rows(self._tune)
            return self._to_device(batches(self._stored_tune, rows, self._config.batch_size))
        return self._to_device(batches(self._pixels, self._tune, self._config.batch_size))

    # Each is made when it is first asked for: by then a resumed trial has its own weights, on which outputs depend.
    @cached_property
    def _pixels(self) -> Table:
        images = as_tensor(self._data.images(self._config.image_size))
        return resident(Table(images, torch.from_numpy(self._data.labels)), self._device)

    @cached_property
    def _stored_fit(self) -> Table | None:
        policy = self._config.augmentation
        if self._prefix is not None and policy not in ORBITS:
            logger.info("augmentation %s: the frozen prefix is computed anew for every training image", policy)
            return None
        return self._stored(self._fit, policy)

    @cached_property
    def _stored_tune(self) -> Table | None:
        if self._pool is not None and self._config.augmentation == "none":
            return self._stored_fit  # the same rows
        return self._stored(self._tune, "none")

    def _rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Where the images are in the table that ``_stored`` gives, and how many it has a variant."""
        if self._pool is None:
            return np.arange(len(indices)), len(indices)
        return np.searchsorted(self._pool, indices), len(self._pool)

    def _stored(self, indices: NDArray[np.int64], policy: str) -> Table | None:
        shared = indices if self._pool is None else self._pool
        table = None if self._prefix is None else self._prefix.table(shared, ORBITS[policy])
        return None if table is None else resident(table, self._device)

    def scorer(self) -> "Scorer":
        """A fresh accumulator of one pass's predictions."""
        return Scorer(self._data.class_names, self._data.healthy)

    def _to_device(self, on_cpu: Iterator[Batch]) -> Iterator[Batch]:
        for pixels, targets in on_cpu:
            yield pixels.to(self._device, non_blocking=True), targets.to(self._device, non_blocking=True)


class Scorer:
    """Collects a pass's predictions on the device and scores them at its end, with one host-device sync."""

    def __init__(self, class_names: tuple[str, ...], healthy: str | None = None):
        self._class_names = class_names
        self._healthy = healthy
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._losses: list[Tensor] = []

    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch: (B, C) logits, (B,) targets and its mean loss."""
        self._logits.append(logits.detach())
        self._targets.append(targets)
        self._losses.append(loss.detach() * len(targets))

    def compute(self) -> dict[str, float]:
        """``loss`` (the mean an image) and every metric of ``classification_metrics``.

        Where the loss is not finite nothing else is scored.
        """
        targets: NDArray[np.int64] = torch.cat(self._targets).cpu().numpy()
        loss = float(torch.stack(self._losses).sum()) / len(targets)
        if not np.isfinite(loss):
            return {"loss": loss}
        probabilities = torch.cat(self._logits).float().softmax(dim=1).cpu().numpy()
        metrics = classification_metrics(probabilities, targets, self._class_names, healthy=self._healthy)
        return {"loss": loss, **metrics}
