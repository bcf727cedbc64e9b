"""Tasks with a prediction for whole images: a head on a backbone whose frozen stages are computed once."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.core.config import HeadConfig
from trainables.core.data.batches import Batch, Shown, Table, batches, drawn_variants
from trainables.core.data.dataset import Dataset
from trainables.core.errors import ConfigError
from trainables.core.models.backbones.backbone import Backbone
from trainables.core.models.backbones.parameter_groups import undecayed_parameters
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.models.networks.classifier import Classifier
from trainables.core.training.mixing import Mix, draw_mix
from trainables.core.training.optimization.l2_sp import StartingPoint
from trainables.core.training.tasks.base import Scorer, Task
from trainables.core.training.tasks.frozen_tables import FrozenTables


class WholeImageTask(Task):
    """The classifier, the batches and the scores of one configuration. Subclasses add the loss and the metrics."""

    model: Classifier

    def __init__(self, config: HeadConfig, data: Dataset, device: torch.device):
        super().__init__(config, data, device)
        self._head_config = config
        _check_something_is_trained(config, self.model.backbone)
        self._augment = self._build_augmenter(config.random_erasing)
        self._tables = self._frozen_tables(config.epochs - config.head_epochs)

    def start_epoch(self, epoch: int) -> None:
        """Freeze the stages that an epoch (from 1) does not train: all of them in the first ``head_epochs``."""
        config, backbone = self._head_config, self.model.backbone
        only_head = epoch <= config.head_epochs
        depth = backbone.depth if only_head else config.freeze_depth
        if depth != backbone.frozen_depth:
            backbone.freeze(depth)
            self._tables = self._frozen_tables(config.head_epochs if only_head else config.epochs - config.head_epochs)

    def mix(self, epoch: int, batch: int) -> Mix | None:
        """Draw mixup or cutmix of a training batch, if they are on."""
        return draw_mix(self._head_config, epoch, batch)

    def starting_point(self) -> StartingPoint | None:
        """Return the trainable weights of the backbone that decay, for L2-SP."""
        if not self._head_config.l2_sp:
            return None
        undecayed = undecayed_parameters(self.model)
        backbone = (weights for weights in self.model.backbone.parameters() if weights.requires_grad)
        decaying = [weights for weights in backbone if weights.ndim > 1 and weights not in undecayed]
        return StartingPoint(decaying, self._head_config.l2_sp)

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

    def forward(self, inputs: Tensor, mix: Mix | None = None) -> Tensor:
        """Return (B, C) logits of uint8 pixels, which are mixed first, or of cached outputs of the frozen stages."""
        return super().forward(inputs, mix) if inputs.dtype == torch.uint8 else self.model.run_trainable(inputs)

    def scorer(self) -> "PredictionScorer":
        """Return a new accumulator of predictions."""
        return PredictionScorer(self.model.probabilities, partial(self.metrics, data=self._data))

    def tune_scorer(self) -> "PredictionScorer":
        """Return the same for ``tune``, which scores patients, too, if they are known."""
        patients = None if self._data.patients is None else self._data.patients[self._tune]
        return PredictionScorer(self.model.probabilities, partial(self.metrics, data=self._data, patients=patients))

    def _targets(self, size: int) -> NDArray[np.int64]:  # noqa: ARG002
        return self._data.labels

    def _tune_rows(self) -> tuple[Table, NDArray[np.int64]]:
        table = self._tables.tune
        return super()._tune_rows() if table is None else (table, self._tables.rows(self._tune)[0])

    def _drawn_batches(self, shown: Shown, sizes: list[int], epoch: int) -> Iterator[Batch]:
        if self._tables.fit is None:
            return super()._drawn_batches(shown, sizes, epoch)
        drawn, policy = shown._replace(rows=self._fit[shown.rows]), self._config.augmentation
        variants = 0 if policy == "none" else drawn_variants(drawn, self._augment, epoch)
        rows, rows_per_variant = self._tables.rows(self._fit)
        return batches(self._tables.fit, rows[shown.rows] + rows_per_variant * variants, sizes)

    def _frozen_tables(self, epochs: int) -> FrozenTables:
        """Return the tables of ``epochs`` epochs that freeze what is frozen now."""
        config, data, device = self._head_config, self._data, self._device
        cache = FrozenCache(self.model, config, data, device, epochs) if self.model.backbone.frozen_depth else None
        mixing = "mixup or cutmix" if config.mixes else None
        recomputed = "random erasing" if config.random_erasing else mixing
        return FrozenTables(cache, data, config.augmentation, recomputed, device)


def _check_something_is_trained(config: HeadConfig, backbone: Backbone) -> None:
    """Raise ConfigError for keys of the training of the backbone if all of it is frozen."""
    if config.freeze_depth < backbone.depth:
        return
    for key in ("head_epochs", "l2_sp", "lora_rank", "drop_path_rate"):
        if getattr(config, key):
            raise ConfigError(
                f"{key} needs stages to train, but freeze_depth={config.freeze_depth} freezes all {backbone.depth} of "
                f"{config.backbone}: leave {key} out, or lower freeze_depth"
            )


class PredictionScorer(Scorer):
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
        super().__init__()
        self._probabilities, self._metrics = probabilities, metrics

    def update(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: (B, C) logits, (B,) or (B, C) targets and its mean loss."""
        self.records.append((logits.detach(), targets, loss.detach() * len(targets)))

    def compute(self) -> dict[str, float]:
        """Return ``loss`` (the mean over images) and all metrics; only ``loss`` if it is not finite."""
        all_logits, all_targets, losses = zip(*self.records, strict=True)
        targets: NDArray[np.int64] = torch.cat(all_targets).cpu().numpy()  # the pass's first host-device sync
        loss = float(torch.stack(losses).sum()) / len(targets)
        if not np.isfinite(loss):
            return {"loss": loss}
        probabilities = self._probabilities(torch.cat(all_logits).float()).cpu().numpy()
        return {"loss": loss, **self._metrics(probabilities, targets)}
