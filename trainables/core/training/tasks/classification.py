"""Classification: one class per image."""

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.core.config import ClassificationConfig
from trainables.core.data.dataset import Dataset
from trainables.core.training.imbalance import class_weights, epoch_order
from trainables.core.training.losses import build_loss, check_loss
from trainables.core.training.metrics.classification_metrics import classification_metrics
from trainables.core.training.metrics.patient_metrics import patient_metrics
from trainables.core.training.tasks.whole_images import WholeImageTask


class Classification(WholeImageTask):
    """The classifier, the batches, the loss and the scores of one configuration."""

    def __init__(self, config: ClassificationConfig, data: Dataset, device: torch.device):
        check_loss(config.loss, data.class_names, data.ordered)
        super().__init__(config, data, device)
        self._sampler = config.sampler
        counts = np.bincount(data.labels[self._fit], minlength=len(data.class_names))
        self._class_weights = class_weights(config.class_weights, counts)
        on_device = None if self._class_weights is None else torch.from_numpy(self._class_weights).to(device)
        self.loss = build_loss(config, on_device)

    @staticmethod
    def metrics(
        probabilities: NDArray[np.floating],
        targets: NDArray[np.int64],
        data: Dataset,
        patients: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """Compute all of ``classification_metrics``, of images and of patients."""
        names, healthy, ordered = data.class_names, data.healthy, data.ordered
        return {
            **classification_metrics(probabilities, targets, names, healthy=healthy, ordered=ordered),
            **patient_metrics(probabilities, targets, patients, names, healthy, ordered),
        }

    def _image_weights(self) -> NDArray[np.float64]:
        if self._class_weights is None:
            return super()._image_weights()
        return self._class_weights.astype(np.float64)[self._data.labels[self._fit]]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self._sampler, self._data.labels[self._fit], self._config.seed, epoch)
