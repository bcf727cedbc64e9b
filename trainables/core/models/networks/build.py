"""The network of a configuration, new or as a checkpoint has it."""

import dataclasses

import torch

from trainables.core.config import ClassificationConfig, SegmentationConfig, TrainConfig
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.networks.base import PixelNetwork
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.models.networks.segmenter import build_segmenter


def build_network(config: TrainConfig, num_classes: int) -> PixelNetwork:
    """Builds what the configuration's task trains, on the CPU; new parameters come from the global RNG.

    Raises:
        WeightsError, ConfigError: It cannot be built.
    """
    if isinstance(config, SegmentationConfig):
        return build_segmenter(config, num_classes)
    assert isinstance(config, ClassificationConfig)
    return build_classifier(config, num_classes)


def trained_network(checkpoint: Checkpoint, device: torch.device) -> PixelNetwork:
    """The network of a checkpoint in eval mode; no weights are needed from elsewhere."""
    model = build_network(dataclasses.replace(checkpoint.config, weights="random"), len(checkpoint.class_names))
    model.load_state_dict(checkpoint.state.model_tensors())
    return model.to(device).to(memory_format=torch.channels_last).eval()
