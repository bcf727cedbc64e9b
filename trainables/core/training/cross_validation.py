"""Cross-validation of one configuration: a model a fold, each scored on images of which it saw no group.

for fold in cross_validate(config, data):
    if fold:
        print(fold.number, fold.metrics["tune/balanced_accuracy"])
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.device import resolve_device
from trainables.core.errors import CheckpointError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState
from trainables.core.serving.predict_classes import predict_probabilities, trained_classifier
from trainables.core.training.classification_metrics import classification_metrics
from trainables.core.training.fit import fit


@dataclass(frozen=True)
class OutOfFold:
    """What the models of the finished folds predict of their own folds' images.

    Attributes:
        images: (n,) int64 indices of the images, fold after fold.
        probabilities: (n, C) float32, each row by the model that was trained on the other folds.
    """

    images: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def joined(self, other: Self) -> Self:
        """These predictions, then the other's."""
        images = np.concatenate([self.images, other.images])
        return type(self)(images, np.concatenate([self.probabilities, other.probabilities]))

    def of(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, C) predictions of these sorted images, in their order.

        Raises:
            CheckpointError: They are not the images that were predicted.
        """
        order = np.argsort(self.images)
        if not np.array_equal(self.images[order], images):
            raise CheckpointError(
                f"out-of-fold predictions must be of all {len(images)} images, but are of {len(self.images)}"
            )
        return self.probabilities[order]

    def metrics(self, data: Dataset) -> dict[str, float]:
        """``classification_metrics`` of all of them together."""
        return classification_metrics(
            self.probabilities, data.labels[self.images], data.class_names, healthy=data.healthy
        )


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave.

    Attributes:
        number: Of the fold, from 1: so many are done.
        metrics: ``train/...`` of this fold's last epoch; ``tune/...`` of all finished folds' predictions together, so
            without a ``tune/loss``.
        seconds: Wall time of an epoch of this fold on average.
        model: The state after the last epoch: the model's tensors alone, on the CPU.
        pooled: The predictions of all finished folds.
    """

    number: int
    metrics: dict[str, float]
    seconds: float
    model: TrainState
    pooled: OutOfFold


def cross_validate(
    config: TrainConfig, data: Dataset, done: int = 0, pooled: OutOfFold | None = None
) -> Iterator[FoldResult | None]:
    """Trains one model a fold for all of the epochs, each from the beginning and from the same seed.

    A fold's model depends on nothing but the configuration and the fold's images, so a run that is taken up after a
    finished fold gives the same numbers as an uninterrupted one (on the CPU); a fold that was interrupted begins again.

    Args:
        config: What to train.
        data: With ``folds``; its ``test`` split is not touched.
        done: How many folds an earlier run has finished.
        pooled: Their predictions.

    Yields:
        None after every epoch, so that the caller knows it to be alive; after a fold's last one, its result as well.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
        DeviceError, WeightsError, ConfigError: The configuration cannot run here.
    """
    for number in range(done + 1, len(data.folds) + 1):
        shown = data.fold(number)
        model, metrics, seconds = yield from _trained(config, shown)
        predicted = _predicted(model, config, shown)
        pooled = predicted if pooled is None else pooled.joined(predicted)
        metrics |= {f"tune/{name}": value for name, value in pooled.metrics(data).items()}
        yield FoldResult(number, metrics, seconds, model, pooled)


def _trained(config: TrainConfig, data: Dataset) -> Generator[None, None, tuple[TrainState, dict[str, float], float]]:
    """Trains to the last epoch; returns the model there, ``train/...``, and the seconds of an epoch on average."""
    seconds = []
    for epoch in fit(config, data):
        seconds.append(epoch.seconds)
        yield
    # Off the GPU: the next fold trains there, and the optimizer's state is needed no more.
    tensors = {name: tensor.cpu() for name, tensor in epoch.state.tensors.items() if name.startswith("model.")}
    metrics = {name: value for name, value in epoch.metrics.items() if name.startswith("train/")}
    return TrainState(epoch.epoch, tensors, {}), metrics, float(np.mean(seconds))


def _predicted(model: TrainState, config: TrainConfig, data: Dataset) -> OutOfFold:
    checkpoint = Checkpoint(model, config, data.class_names, data.pixel_format, {})
    classifier = trained_classifier(checkpoint, resolve_device(config.device))
    images = data.images(config.image_size)
    return OutOfFold(data.splits["tune"], predict_probabilities(classifier, images, data.splits["tune"]))
