import numpy as np
import pytest
import torch
from PIL import Image

from trainables.core.serving.export.resize import resize_like_pillow


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (96, 96, 96),
        (40, 60, 96),  # enlarged
        (300, 200, 64),  # within rows first
        (300, 140, 96),  # tall: within columns first
        (129, 96, 96),  # one axis only
        (97, 301, 33),
        (1, 5, 8),
        (256, 256, 224),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_equals_pillow_in_every_pixel(height, width, size, channels):
    images = np.random.default_rng(height).integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    images[1] = (images[1] > 127) * 255
    resized = resize_like_pillow(torch.from_numpy(images), size).numpy()
    for image, ours in zip(images, resized, strict=True):
        pillow = Image.fromarray(image[:, :, 0] if channels == 1 else image)
        expected = np.asarray(pillow.resize((size, size), Image.Resampling.BILINEAR))
        assert (ours == expected.reshape(ours.shape)).all()
