"""Which task a configuration is of."""

import torch

from trainables.core.config import ClassificationConfig, SegmentationConfig, TrainConfig
from trainables.core.data.cache import Dataset
from trainables.core.tasks.classification import Classification
from trainables.core.tasks.segmentation import Segmentation
from trainables.core.tasks.task import Task


def task_of(config: TrainConfig, data: Dataset, device: torch.device) -> Task:
    """Builds the task of a configuration; new parameters come from the global RNG.

    Raises:
        WeightsError, ConfigError: The model cannot be built.
    """
    if isinstance(config, SegmentationConfig):
        return Segmentation(config, data, device)
    assert isinstance(config, ClassificationConfig)
    return Classification(config, data, device)
