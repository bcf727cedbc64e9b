"""Cross-validation of one configuration: one model per fold, scored on images whose groups it was not trained on.

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
from trainables.core.training.fit import fit
from trainables.core.training.tasks.registry import image_metrics


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Out-of-fold predictions: each image's by the model that was not trained on its fold.

    Attributes:
        images: (n,) int64 indices of the images, fold after fold.
        probabilities: (n, C) float32.
    """

    images: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def joined(self, other: Self) -> Self:
        """Return these predictions followed by the other's."""
        images = np.concatenate([self.images, other.images])
        return type(self)(images, np.concatenate([self.probabilities, other.probabilities]))

    def of(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the (n, C) predictions of sorted images, in their order.

        Raises:
            CheckpointError: They are not exactly the images that were predicted.
        """
        order = np.argsort(self.images)
        if not np.array_equal(self.images[order], images):
            raise CheckpointError(
                f"out-of-fold predictions must cover all {len(images)} images, but cover {len(self.images)}"
            )
        return self.probabilities[order]

    def metrics(self, data: Dataset) -> dict[str, float]:
        """Compute all metrics of images and, if they are known, of patients on all predictions together."""
        patients = None if data.patients is None else data.patients[self.images]
        return image_metrics(data)(self.probabilities, data.labels[self.images], data, patients)


@dataclass(frozen=True)
class FoldResult:
    """The result of one fold.

    Attributes:
        number: Number of the fold, from 1; also the number of finished folds.
        metrics: ``train/...`` of this fold's last epoch, and ``tune/...`` of the predictions of all finished folds
            together (without ``tune/loss``).
        seconds: Mean wall time of this fold's epochs.
        model: State after the last epoch with only the model's tensors, on the CPU.
        pooled: Predictions of all finished folds.
    """

    number: int
    metrics: dict[str, float]
    seconds: float
    model: TrainState
    pooled: OutOfFold


def cross_validate(
    config: TrainConfig, data: Dataset, done: int = 0, pooled: OutOfFold | None = None, devices: int = 1
) -> Iterator[FoldResult | None]:
    """Train one model per fold for all epochs, each from the beginning and from the same seed.

    A fold's model depends only on the configuration and the fold's images. So on the CPU, a run resumed after a
    finished fold gives the same numbers as an uninterrupted one, like a resumed ``fit``. An interrupted fold starts
    again.

    Args:
        config: Configuration to train.
        data: Data set with ``folds``; its ``test`` split is not used.
        done: Number of folds that an earlier run has finished.
        pooled: Predictions of those folds.
        devices: Number of devices to train on, as in ``fit``.

    Yields:
        None after every epoch, as a sign of life, and after a fold's last epoch also the fold's result.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
        DeviceError, WeightsError, ConfigError, HubError: The configuration cannot run on this machine.
        RankError: The process of another device failed or died.
    """
    for number in range(done + 1, len(data.folds) + 1):
        fold_data = data.fold(number)
        model, metrics, seconds = yield from _train(config, fold_data, devices)
        predicted = _predict(model, config, fold_data)
        pooled = predicted if pooled is None else pooled.joined(predicted)
        metrics |= {f"tune/{name}": value for name, value in pooled.metrics(data).items()}
        yield FoldResult(number, metrics, seconds, model, pooled)


def _train(
    config: TrainConfig, data: Dataset, devices: int
) -> Generator[None, None, tuple[TrainState, dict[str, float], float]]:
    """Train to the last epoch and return its model, its ``train/...`` metrics and the mean seconds of an epoch."""
    seconds = []
    for epoch in fit(config, data, devices=devices):
        seconds.append(epoch.seconds)
        yield
    # Moved to the CPU to free the GPU for the next fold; the optimizer's state is no longer needed.
    tensors = {name: tensor.cpu() for name, tensor in epoch.state.tensors.items() if name.startswith("model.")}
    metrics = {name: value for name, value in epoch.metrics.items() if name.startswith("train/")}
    return TrainState(epoch.epoch, tensors, {}), metrics, float(np.mean(seconds))


def _predict(model: TrainState, config: TrainConfig, data: Dataset) -> OutOfFold:
    checkpoint = Checkpoint(model, config, data.class_names, data.pixel_format, {})
    classifier = trained_classifier(checkpoint, resolve_device(config.device))
    images = data.images(config.image_size)
    return OutOfFold(data.splits["tune"], predict_probabilities(classifier, images, data.splits["tune"]))
