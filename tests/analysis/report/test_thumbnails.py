import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from analysis.report.thumbnails import align, data_uri, with_heat_map, with_mask_comparison
from trainables.core.data.decode.images import SIDE
from trainables.core.data.splits.similarity import polar_spectra, registration


def drawn(seed=0):
    """Return blobs within the disc that is compared."""
    generator = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE), np.float32)
    for across, down in generator.integers(16, 48, (12, 2)):
        cv2.circle(image, (int(across), int(down)), int(generator.integers(2, 6)), int(generator.integers(80, 255)), -1)
    return cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.uint8)[:, :, None]


@pytest.mark.parametrize("degrees", [0, 30, -75, 160])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_registered_copy_is_aligned_with_its_original(degrees, mirrored):
    first = drawn()
    copy = np.asarray(Image.fromarray(first[:, :, 0]).rotate(degrees, Image.Resampling.BILINEAR))
    second = (copy[:, ::-1] if mirrored else copy)[:, :, None]
    similarity, turned, was_mirrored = registration(*polar_spectra(np.stack([first, second])))
    assert was_mirrored == mirrored
    back = align(second, turned, was_mirrored)
    assert back.shape == first.shape
    assert np.corrcoef(back.ravel(), first.ravel())[0, 1] > 0.97
    assert similarity > 0.97


def test_a_heat_map_leaves_cold_areas_unchanged():
    grey = np.full((8, 8, 1), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[:4] = 1
    shown = with_heat_map(grey, heat)
    assert shown.shape == (8, 8, 3)
    assert (shown[-1] == 100).all()
    red, green, blue = shown[0, 0].astype(int)
    assert red > green > blue


@pytest.mark.parametrize("channels", [1, 3])
def test_a_data_uri_holds_a_jpeg_of_the_requested_size(channels):
    address = data_uri(np.zeros((20, 20, channels), np.uint8), 40)
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (40, 40)


def test_mask_colours_show_found_missed_and_wrong_pixels():
    pixels = np.zeros((1, 4, 1), dtype=np.uint8)
    truth, predicted = (np.array([row], dtype=np.uint8) for row in ([0, 1, 1, 2], [0, 1, 0, 1]))
    background, found, missed, wrong = with_mask_comparison(pixels, truth, predicted)[0].astype(int)
    assert background.tolist() == [0, 0, 0]
    assert (found.argmax(), missed.argmax(), wrong.argmax()) == (1, 2, 0)
