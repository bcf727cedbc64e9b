"""Segmentation: one class per pixel."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import SegmentationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.models.networks.pixel_predictions import pixel_counts, pixel_probabilities, predicted_masks
from trainables.core.training.imbalance import epoch_order
from trainables.core.training.mask_losses import build_mask_loss
from trainables.core.training.metrics.segmentation_metrics import segmentation_metrics
from trainables.core.training.tasks.base import Scorer, Task


class Segmentation(Task):
    """The network, the batches of images and masks, the loss and the scores of one configuration."""

    def __init__(self, config: SegmentationConfig, data: Dataset, device: torch.device):
        super().__init__(config, data, device)
        self.loss = build_mask_loss(config, len(data.class_names))

    def scorer(self) -> "MaskScorer":
        """Return a new accumulator of pixel counts."""
        return MaskScorer(self._data.class_names)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order("shuffle", self._data.labels[self._fit], self._config.seed, epoch)

    def _targets(self, size: int) -> NDArray[np.uint8]:
        return self._data.masks(size)


class MaskScorer(Scorer):
    """An accumulator of pixel counts on the device, without the masks; only ``compute`` waits for the device."""

    def __init__(self, class_names: tuple[str, ...]):
        super().__init__()
        self._class_names = class_names

    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: (B, 1, S, S) or (B, 1 + C, S, S) logits, (B, S, S) targets and its loss."""
        masks = predicted_masks(pixel_probabilities(logits.detach()))
        counts = pixel_counts(masks, targets, len(self._class_names))
        self.records.append((counts, loss.detach() * len(targets)))

    def compute(self) -> dict[str, float]:
        """Return ``loss`` (the mean over images) and all of ``segmentation_metrics``; only ``loss`` if not finite."""
        all_counts, losses = zip(*self.records, strict=True)
        counts = torch.cat(all_counts).cpu().numpy()  # the pass's first host-device sync
        loss = float(torch.stack(losses).sum()) / len(counts)
        return {"loss": loss, **(segmentation_metrics(counts, self._class_names) if np.isfinite(loss) else {})}
