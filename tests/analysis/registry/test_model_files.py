import pytest

from analysis.registry.model_files import _requirements
from trainables.core.config import TrainConfig
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.decode.nifti import Slicing
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.models.checkpoints.train_state import TrainState


@pytest.mark.parametrize(
    ("pixel_format", "packages"),
    [
        (PixelFormat(1, 255), set()),
        (PixelFormat(1, 65535, dicom=True), {"pydicom"}),
        (PixelFormat(1, 255, slicing=Slicing()), {"nibabel"}),
    ],
)
def test_a_model_requires_the_packages_that_read_its_files(pixel_format, packages):
    config = TrainConfig.from_dict(
        {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
        | {"image_size": 16, "batch_size": 16, "epochs": 1}
    )
    checkpoint = Checkpoint(TrainState(1, {}, {}), config, ("a", "b"), pixel_format, {})
    required = {line.partition("==")[0] for line in _requirements([[checkpoint]])}
    assert required & {"pydicom", "nibabel"} == packages
    assert {"torch", "timm", "pillow"} <= required
