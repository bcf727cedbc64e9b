import pytest

from analysis.registry.model_files import _requirements
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.decode.nifti import Slicing


@pytest.mark.parametrize(
    ("pixel_format", "packages"),
    [
        (PixelFormat(1, 255), set()),
        (PixelFormat(3, 65535), {"opencv-python-headless"}),
        (PixelFormat(1, 65535, dicom=True), {"opencv-python-headless", "pydicom"}),
        (PixelFormat(1, 255, slicing=Slicing()), {"nibabel"}),
    ],
)
def test_a_model_requires_the_packages_that_read_its_files(pixel_format, packages):
    required = {line.partition("==")[0] for line in _requirements([], pixel_format)}
    assert required & {"nibabel", "opencv-python-headless", "pydicom", "scipy"} == packages
    assert {"torch", "timm", "pillow"} <= required
