import numpy as np
import pytest

from tests.images import png


@pytest.fixture
def folder(tmp_path):
    """Twelve different images, 000.png to 011.png."""
    root = tmp_path / "images"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 16), dtype=np.uint8)
    for index, image in enumerate(pixels):
        (root / f"{index:03}.png").write_bytes(png(image))
    return root
