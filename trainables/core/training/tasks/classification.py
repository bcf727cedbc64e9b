"""Classification: one class an image."""

import logging
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import ClassificationConfig
from trainables.core.data.batches import Batch, Table, batches, drawn_variants, resident
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL
from trainables.core.models.frozen_cache import ORBITS, FrozenPrefix
from trainables.core.models.networks.classifier import Classifier
from trainables.core.training.classification_metrics import classification_metrics
from trainables.core.training.imbalance import class_weights, epoch_order
from trainables.core.training.losses import build_loss
from trainables.core.training.tasks.base import Task

logger = logging.getLogger("trainables")


class Classification(Task):
    """The classifier of one configuration, its batches, its loss and its scores."""

    model: Classifier

    def __init__(self, config: ClassificationConfig, data: Dataset, device: torch.device):
        super().__init__(config, data, device)
        self._sampler = config.sampler
        counts = np.bincount(data.labels[self._fit], minlength=len(data.class_names))
        weights = class_weights(config.class_weights, counts)
        self.loss = build_loss(config, None if weights is None else torch.from_numpy(weights).to(device))
        self._prefix = FrozenPrefix(self.model, config, data, device) if config.freeze_depth else None
        self._pool = data.splits.get(POOL)  # of a fold: what all folds share the prefix's outputs of

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (B, C) logits of a batch: uint8 pixels, or what the store has of the frozen prefix's outputs."""
        return super().forward(inputs) if inputs.dtype == torch.uint8 else self.model.rest(inputs)

    def tune_batches(self) -> Iterator[Batch]:
        """The ``tune`` split on the device, in order, without augmentation."""
        if self._stored_tune is None:
            return super().tune_batches()
        rows, _ = self._rows(self._tune)
        return self._to_device(batches(self._stored_tune, rows, self._config.batch_size))

    def scorer(self) -> "ClassScorer":
        """A fresh accumulator of one pass's predictions."""
        return ClassScorer(self._data.class_names, self._data.healthy)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self._sampler, self._data.labels[self._fit], self._config.seed, epoch)

    def _targets(self, size: int) -> NDArray[np.int64]:  # noqa: ARG002
        return self._data.labels

    def _drawn_batches(self, order: NDArray[np.int64], epoch: int) -> Iterator[Batch]:
        if self._stored_fit is None:
            return super()._drawn_batches(order, epoch)
        drawn, policy = self._fit[order], self._config.augmentation
        variants = 0 if policy == "none" else drawn_variants(drawn, self._augment, epoch)
        rows, of_variant = self._rows(self._fit)
        return batches(self._stored_fit, rows[order] + of_variant * variants, self._config.batch_size)

    # Made when first asked for, as ``_pixels`` is: outputs depend on the weights.
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


class ClassScorer:
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
