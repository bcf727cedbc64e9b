"""Which task a configuration is of."""

import torch

from trainables.core.config import ClassificationConfig, SegmentationConfig, TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.training.tasks.base import Task
from trainables.core.training.tasks.classification import Classification
from trainables.core.training.tasks.segmentation import Segmentation


def task_of(config: TrainConfig, data: Dataset, device: torch.device) -> Task:
    """Builds the task of a configuration; new parameters come from the global RNG.

    Raises:
        WeightsError, ConfigError: The model cannot be built.
    """
    if isinstance(config, SegmentationConfig):
        return Segmentation(config, data, device)
    assert isinstance(config, ClassificationConfig)
    return Classification(config, data, device)
