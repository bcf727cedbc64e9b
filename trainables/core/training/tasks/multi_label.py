"""Multi-label classification: any number of labels per image."""

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.config import MultiLabelConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.labels import rarest_labels
from trainables.core.training.imbalance import epoch_order
from trainables.core.training.label_losses import build_label_loss, positive_weights
from trainables.core.training.metrics.multi_label_metrics import multi_label_metrics
from trainables.core.training.metrics.patient_metrics import patient_label_metrics
from trainables.core.training.tasks.whole_images import WholeImageTask


class MultiLabel(WholeImageTask):
    """The classifier, the batches, the loss and the scores of one configuration."""

    def __init__(self, config: MultiLabelConfig, data: Dataset, device: torch.device):
        super().__init__(config, data, device)
        targets = data.labels[self._fit]
        self._sampler, self._rarest = config.sampler, rarest_labels(targets)
        weights = positive_weights(config.pos_weight, torch.from_numpy(targets))
        self.loss = build_label_loss(config, None if weights is None else weights.to(device))

    @staticmethod
    def metrics(
        probabilities: NDArray[np.floating],
        targets: NDArray[np.int64],
        data: Dataset,
        patients: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Compute all of ``multi_label_metrics``, of images and of patients."""
        return {
            **multi_label_metrics(probabilities, targets, data.class_names),
            **patient_label_metrics(probabilities, targets, patients, data.class_names),
        }

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self._sampler, self._rarest, self._config.seed, epoch)
