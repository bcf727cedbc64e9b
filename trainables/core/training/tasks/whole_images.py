"""Tasks with a prediction for whole images: a head on a backbone whose frozen stages are computed once."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import HeadConfig
from trainables.core.data.batches import Batch, Table, batches, drawn_variants, resident, to_device
from trainables.core.data.dataset import Dataset
from trainables.core.data.splits.folds import POOL
from trainables.core.models.frozen_cache import CACHEABLE_VARIANTS, FrozenCache
from trainables.core.models.networks.classifier import Classifier
from trainables.core.training.tasks.base import Task

logger = logging.getLogger("trainables")


class WholeImageTask(Task):
    """The classifier, the batches and the scores of one configuration. Subclasses add the loss and the metrics."""

    model: Classifier

    def __init__(self, config: HeadConfig, data: Dataset, device: torch.device):
        super().__init__(config, data, device)
        self._frozen_cache = FrozenCache(self.model, config, data, device) if config.freeze_depth else None
        self._pool = data.splits.get(POOL)  # the images of all folds, cached together so that folds share them

    @staticmethod
    @abstractmethod
    def metrics(
        probabilities: NDArray[np.floating],
        targets: NDArray[np.int64],
        data: Dataset,
        patients: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Compute all metrics of (n, C) probabilities of images with the given targets.

        Args:
            probabilities: (n, C) probabilities.
            targets: (n,) or (n, C) labels, as in ``data``.
            data: Data set of the images.
            patients: (n,) patient of each image; None scores images only.
        """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, C) logits of uint8 pixels, or of cached outputs of the frozen stages."""
        return super().forward(inputs) if inputs.dtype == torch.uint8 else self.model.run_trainable(inputs)

    def tune_batches(self) -> Iterator[Batch]:
        """Yield the ``tune`` split on the device, in order, without augmentation."""
        if self._cached_tune is None:
            return super().tune_batches()
        rows, _ = self._rows(self._tune)
        return to_device(batches(self._cached_tune, rows, self._config.batch_size), self._device)

    def scorer(self) -> "PredictionScorer":
        """Return a new accumulator of predictions."""
        return PredictionScorer(self.model.probabilities, partial(self.metrics, data=self._data))

    def tune_scorer(self) -> "PredictionScorer":
        """Return the same for ``tune``, which scores patients, too, if they are known."""
        patients = None if self._data.patients is None else self._data.patients[self._tune]
        return PredictionScorer(self.model.probabilities, partial(self.metrics, data=self._data, patients=patients))

    def _targets(self, size: int) -> NDArray[np.int64]:  # noqa: ARG002
        return self._data.labels

    def _drawn_batches(self, order: NDArray[np.int64], epoch: int) -> Iterator[Batch]:
        if self._cached_fit is None:
            return super()._drawn_batches(order, epoch)
        drawn, policy = self._fit[order], self._config.augmentation
        variants = 0 if policy == "none" else drawn_variants(drawn, self._augment, epoch)
        rows, rows_per_variant = self._rows(self._fit)
        return batches(self._cached_fit, rows[order] + rows_per_variant * variants, self._config.batch_size)

    # Cached on first use: the outputs depend on the weights, which a resumed trial has only loaded by then.
    @cached_property
    def _cached_fit(self) -> Table | None:
        policy = self._config.augmentation
        if self._frozen_cache is not None and policy not in CACHEABLE_VARIANTS:
            logger.info("augmentation %s: the frozen stages are recomputed for every training image", policy)
            return None
        return self._cached(self._fit, policy)

    @cached_property
    def _cached_tune(self) -> Table | None:
        if self._pool is not None and self._config.augmentation == "none":
            return self._cached_fit  # the same rows
        return self._cached(self._tune, "none")

    def _rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return the rows of images in the table of ``_cached``, and the table's number of rows per variant."""
        if self._pool is None:
            return np.arange(len(indices)), len(indices)
        return np.searchsorted(self._pool, indices), len(self._pool)

    def _cached(self, indices: NDArray[np.int64], policy: str) -> Table | None:
        shared = indices if self._pool is None else self._pool
        table = None if self._frozen_cache is None else self._frozen_cache.table(shared, CACHEABLE_VARIANTS[policy])
        return None if table is None else resident(table, self._device)


class PredictionScorer:
    """An accumulator of predictions on the device; only ``compute`` waits for the device.

    Args:
        probabilities: Function from (n, C) logits to probabilities.
        metrics: Function from (n, C) probabilities and their targets to all metrics.
    """

    def __init__(
        self,
        probabilities: Callable[[Tensor], Tensor],
        metrics: Callable[[NDArray[np.floating], NDArray[np.int64]], dict[str, float]],
    ):
        self._probabilities, self._metrics = probabilities, metrics
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._losses: list[Tensor] = []

    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: (B, C) logits, (B,) or (B, C) targets and its mean loss."""
        self._logits.append(logits.detach())
        self._targets.append(targets)
        self._losses.append(loss.detach() * len(targets))

    def compute(self) -> dict[str, float]:
        """Return ``loss`` (the mean over images) and all metrics; only ``loss`` if it is not finite."""
        targets: NDArray[np.int64] = torch.cat(self._targets).cpu().numpy()  # the pass's first host-device sync
        loss = float(torch.stack(self._losses).sum()) / len(targets)
        if not np.isfinite(loss):
            return {"loss": loss}
        probabilities = self._probabilities(torch.cat(self._logits).float()).cpu().numpy()
        return {"loss": loss, **self._metrics(probabilities, targets)}
