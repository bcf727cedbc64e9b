"""Training configurations: untyped input is parsed once. Nothing here imports torch, OpenCV or albumentations."""

from trainables.core.config.registry_names import ORDINAL, SCRATCH
from trainables.core.config.task_configs import (
    ClassificationConfig,
    HeadConfig,
    MultiLabelConfig,
    SegmentationConfig,
)
from trainables.core.config.train_config import CONFIGS, TrainConfig

__all__ = [
    "CONFIGS",
    "ORDINAL",
    "SCRATCH",
    "ClassificationConfig",
    "HeadConfig",
    "MultiLabelConfig",
    "SegmentationConfig",
    "TrainConfig",
]
