import base64
import pickle

import numpy as np
import pytest

from tests.dicom import write_dicom
from tests.images import png
from trainables.core.data.decode.images import PixelFormat
from trainables.core.errors import DataError
from trainables.core.serving.image_input import UnreadableImageError, decode_images

DEEP = PixelFormat(channels=1, white=4095)
SAMPLES = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)


def decoded(images, pixel_format=DEEP):
    return decode_images(images, [16], pixel_format).pixels[16]


def test_arrays_of_samples_are_scaled_like_files():
    forms = [png(SAMPLES), SAMPLES, SAMPLES.astype(np.int16), SAMPLES.astype(np.int64)[:, :, None], SAMPLES.tolist()]
    found = decoded(forms)
    scaled = np.round(SAMPLES * (255 / 4095)).astype(np.uint8)
    assert np.array_equal(found, np.repeat(decoded([scaled]), len(forms), axis=0))


def test_signed_samples_have_the_range_of_the_training_images():
    signed = PixelFormat(channels=1, white=1023, black=-1024)
    samples = np.full((16, 16), -1024, dtype=np.int16)
    samples[8:] = 1023
    assert decoded([samples], signed)[0, :, :, 0].tolist() == [[0] * 16] * 8 + [[255] * 16] * 8


def test_arrays_of_8_bits_are_images_of_8_bits_as_files_are():
    pixels = (SAMPLES // 16).astype(np.uint8)
    assert np.array_equal(*decoded([png(pixels), pixels]))


def test_dicom_files_are_shown_through_their_window_as_in_training(tmp_path):
    window = {"WindowCenter": "2048", "WindowWidth": "1000", "PhotometricInterpretation": "MONOCHROME1"}
    data = write_dicom(tmp_path / "film.dcm", SAMPLES, **window).read_bytes()
    found = decoded([data, base64.b64encode(data).decode()], PixelFormat(1, 65535, dicom=True))
    shown = 255 - np.clip((SAMPLES - 2047.5) / 999 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1, and inverted
    expected = decoded([shown.round().astype(np.uint8)], PixelFormat(1, 255))
    np.testing.assert_allclose(found.astype(int), np.repeat(expected, 2, axis=0), atol=1)


@pytest.mark.parametrize(
    ("image", "pixel_format", "message"),
    [
        ([[1, 4096]], DEEP, "image 0: its values reach from 1 to 4096, but values from 0 to 4095 are expected"),
        (SAMPLES, PixelFormat(1, 255), r"reach from \d+ to \d+, but values from 0 to 255 are expected"),
        ([[0, -1]], PixelFormat(1, 255), "reach from -1 to 0, but values from 0 to 255 are expected"),
        (SAMPLES / 4095, DEEP, "image 0: pixels must be whole numbers, but are float64"),
    ],
)
def test_samples_outside_the_range_are_refused(image, pixel_format, message):
    with pytest.raises(DataError, match=message):
        decoded([image], pixel_format)


def test_the_error_of_an_unreadable_image_reaches_another_process():
    error = pickle.loads(pickle.dumps(UnreadableImageError(3, "not an image")))
    assert (str(error), error.position, error.reason) == ("image 3: not an image", 3, "not an image")
