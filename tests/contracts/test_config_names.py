"""The names in ``trainables/core/config/registry_names.py`` equal the registries, and parsing imports none of them."""

import subprocess
import sys

import pytest

from trainables.core.config import registry_names as names_of_config
from trainables.core.data.augment.policies import POLICIES
from trainables.core.models.networks.heads import HEADS
from trainables.core.models.networks.segmenter import ARCHITECTURES
from trainables.core.training.imbalance import CLASS_WEIGHTS, SAMPLERS
from trainables.core.training.label_losses import LABEL_LOSSES, POSITIVE_WEIGHTS
from trainables.core.training.losses import LOSSES
from trainables.core.training.mask_losses import MASK_LOSSES
from trainables.core.training.optimization.lr_schedules import SCHEDULES
from trainables.core.training.optimization.optimizers import OPTIMIZERS

PARSING = """
import sys
from trainables.core.config import TrainConfig
TrainConfig.from_dict({"backbone": "resnet18", "weights": "random", "image_size": 64, "head": "linear",
                       "optimizer": "adamw", "lr": 1e-3, "batch_size": 8, "epochs": 1})
print({"torch", "torchvision", "timm", "cv2", "albumentations", "numpy"} & set(sys.modules))
"""


@pytest.mark.parametrize(
    ("names", "registry"),
    [
        (names_of_config.ARCHITECTURES, ARCHITECTURES),
        (names_of_config.AUGMENTATIONS, POLICIES),
        (names_of_config.CLASS_WEIGHTS, CLASS_WEIGHTS),
        (names_of_config.HEADS, HEADS),
        (names_of_config.LABEL_LOSSES, LABEL_LOSSES),
        (names_of_config.LOSSES, LOSSES),
        (names_of_config.MASK_LOSSES, MASK_LOSSES),
        (names_of_config.OPTIMIZERS, OPTIMIZERS),
        (names_of_config.POSITIVE_WEIGHTS, POSITIVE_WEIGHTS),
        (names_of_config.SAMPLERS, SAMPLERS),
        (names_of_config.SCHEDULES, SCHEDULES),
    ],
)
def test_names_equal_the_registry(names, registry):
    assert names == tuple(registry)


def test_parsing_a_configuration_imports_no_heavy_library():
    printed = subprocess.run([sys.executable, "-c", PARSING], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
