import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from analysis.report.thumbnails import aligned, heated, inline
from trainables.core.data.splits.similarity import SIDE, polar_spectra, registration


def drawn(seed=0):
    """Blobs within the disc that is compared."""
    generator = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE), np.float32)
    for across, down in generator.integers(16, 48, (12, 2)):
        cv2.circle(image, (int(across), int(down)), int(generator.integers(2, 6)), int(generator.integers(80, 255)), -1)
    return cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.uint8)[:, :, None]


@pytest.mark.parametrize("degrees", [0, 30, -75, 160])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_copy_is_brought_over_its_original_as_it_was_registered(degrees, mirrored):
    first = drawn()
    copy = np.asarray(Image.fromarray(first[:, :, 0]).rotate(degrees, Image.Resampling.BILINEAR))
    second = (copy[:, ::-1] if mirrored else copy)[:, :, None]
    similarity, turned, was_mirrored = registration(*polar_spectra(np.stack([first, second])))
    assert was_mirrored == mirrored
    back = aligned(second, turned, was_mirrored)
    assert back.shape == first.shape
    assert np.corrcoef(back.ravel(), first.ravel())[0, 1] > 0.97
    assert similarity > 0.97


def test_heat_colours_what_it_covers_and_leaves_the_rest():
    grey = np.full((8, 8, 1), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:4] = 1
    shown = heated(grey, heat)
    assert shown.shape == (8, 8, 3)
    assert (shown[-1] == 100).all()
    red, green, blue = shown[0, 0].astype(int)
    assert red > green > blue


@pytest.mark.parametrize("channels", [1, 3])
def test_an_inline_image_is_a_whole_jpeg(channels):
    address = inline(np.zeros((20, 20, channels), np.uint8), 40)
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (40, 40)
