"""The tasks by name. To add one, write its file in this folder and enter it in ``TASKS``."""

from collections.abc import Callable

import torch

from trainables.core.config import ClassificationConfig, MultiLabelConfig, SegmentationConfig, TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.training.tasks.base import Task
from trainables.core.training.tasks.classification import Classification
from trainables.core.training.tasks.multi_label import MultiLabel
from trainables.core.training.tasks.segmentation import Segmentation
from trainables.core.training.tasks.whole_images import WholeImageTask

TASKS: dict[str, type[Task]] = {
    ClassificationConfig.task: Classification,
    SegmentationConfig.task: Segmentation,
    MultiLabelConfig.task: MultiLabel,
}


def image_metrics(data: Dataset) -> Callable[..., dict[str, float]]:
    """Return ``WholeImageTask.metrics`` of the data set's task."""
    task = TASKS[data.task]
    assert issubclass(task, WholeImageTask)
    return task.metrics


def build_task(config: TrainConfig, data: Dataset, device: torch.device) -> Task:
    """Build the task of a configuration; new parameters come from torch's global random state.

    Raises:
        WeightsError, ConfigError: The model cannot be built.
        HubError: Its weights cannot be downloaded.
    """
    return TASKS[config.task](config, data, device)
