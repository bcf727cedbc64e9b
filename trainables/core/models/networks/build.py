"""Networks by task: a new one from a configuration, or a trained one from a checkpoint."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from trainables.core.config import ORDINAL, ClassificationConfig, MultiLabelConfig, SegmentationConfig, TrainConfig
from trainables.core.errors import ConfigError
from trainables.core.models.backbones.registry import on_meta_device
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.classifier import Classifier, LabelClassifier, build_classifier
from trainables.core.models.networks.ordinal import ContinuationRatio
from trainables.core.models.networks.segmenter import build_segmenter


def _build_class_network(config: ClassificationConfig, num_classes: int) -> Classifier:
    """Build a classifier. With the loss ``ordinal``, a ``ContinuationRatio`` follows its head."""
    if config.loss != ORDINAL:
        return build_classifier(config, num_classes)
    classifier = build_classifier(config, num_classes - 1)
    classifier.head = nn.Sequential(classifier.head, ContinuationRatio())
    return classifier


# For each task, a function from its configuration and the number of classes.
NETWORKS: dict[str, Callable[[Any, int], PixelNetwork]] = {
    ClassificationConfig.task: _build_class_network,
    SegmentationConfig.task: build_segmenter,
    MultiLabelConfig.task: partial(build_classifier, kind=LabelClassifier),
}


def build_network(config: TrainConfig, num_classes: int) -> PixelNetwork:
    """Build the configured network on the CPU; new parameters come from torch's global random state.

    Raises:
        WeightsError, ConfigError: The network cannot be built.
        HubError: Its weights cannot be downloaded.
    """
    return NETWORKS[config.task](config, num_classes)


def check_batch_size(config: TrainConfig) -> None:
    """Check that the network can train on ``batch_size`` images, by a run on the meta device.

    Batch norm needs several values per channel. A batch of one image gives it only one after global pooling, or where a
    small image has shrunk to one pixel.

    Args:
        config: Configuration of a network that can be built.

    Raises:
        ConfigError: The batch is too small.
    """
    if config.batch_size > 1:
        return
    untrained = dataclasses.replace(config, weights="random")
    model = on_meta_device(lambda: build_network(untrained, num_classes=2)).train()
    size = config.image_size
    try:
        with torch.no_grad():
            model(torch.empty(1, size, size, 3, dtype=torch.uint8, device="meta"))
    except ValueError as error:
        raise ConfigError(
            f"{config.backbone} has batch norm over single values at {size} px and needs batch_size > 1 on every "
            "device, but got batch_size=1: use a larger one"
        ) from error


def trained_network(checkpoint: Checkpoint, device: torch.device) -> PixelNetwork:
    """Build the network of a checkpoint in eval mode; it needs no other weights."""
    model = build_network(dataclasses.replace(checkpoint.config, weights="random"), len(checkpoint.class_names))
    model.load_state_dict(checkpoint.state.model_tensors())
    return model.to(device).to(memory_format=torch.channels_last).eval()
