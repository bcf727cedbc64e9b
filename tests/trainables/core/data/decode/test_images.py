import io

import numpy as np
import pytest
from PIL import Image

from tests.images import png
from trainables.core.data.decode.images import PixelFormat, decode, survey
from trainables.core.errors import DataError

GREY, COLOUR = PixelFormat(1, 255), PixelFormat(3, 255)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


class Files:
    def __init__(self, *files: bytes):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        return self.files[index]


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def test_an_image_of_the_right_size_is_unchanged():
    square = PIXELS[:, :40]
    np.testing.assert_array_equal(decode(png(square), 40, GREY)[:, :, 0], square)


def test_other_sizes_are_resized_by_pillow():
    expected = np.asarray(Image.fromarray(PIXELS).resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(png(PIXELS), 24, GREY)[:, :, 0], expected)


def test_grey_fills_three_channels():
    three = decode(png(PIXELS[:, :40]), 40, COLOUR)
    assert (three == PIXELS[:, :40, None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
def test_every_mode_decodes(mode):
    image = Image.fromarray(PIXELS)
    image = Image.fromarray(PIXELS.astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    data = encoded(image, "TIFF")
    for pixel_format in (GREY, COLOUR):
        assert decode(data, 16, pixel_format).shape == (16, 16, pixel_format.channels)


def test_exif_orientation_is_applied():
    upright = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    turned = encoded(upright.rotate(90, expand=True), exif=exif)
    np.testing.assert_array_equal(decode(turned, 40, GREY), decode(png(PIXELS), 40, GREY))


def test_12_bit_images_in_16_bit_files_are_not_dark():
    deep = np.array([[0, 1024], [2048, 4095]], dtype=np.uint16)
    files = Files(encoded(Image.fromarray(deep)))
    pixel_format = survey(files, threads=1).pixel_format
    assert pixel_format == PixelFormat(1, 4095)
    np.testing.assert_array_equal(decode(files.read(0), 2, pixel_format)[:, :, 0], [[0, 64], [128, 255]])


def test_16_bit_images_use_the_whole_range():
    pixel_format = survey(
        Files(encoded(Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)))), threads=1
    ).pixel_format
    assert pixel_format == PixelFormat(1, 65535)


def test_one_colour_image_makes_the_data_set_colour():
    grey, colour = png(PIXELS), encoded(Image.new("RGB", (4, 4)), "JPEG")
    assert survey(Files(grey, grey), 2).pixel_format == GREY
    assert survey(Files(grey, colour), 2).pixel_format == COLOUR


@pytest.mark.parametrize("data", [b"", b"no image", png(PIXELS)[:100], encoded(Image.fromarray(PIXELS), "JPEG")[:200]])
def test_unreadable_images_are_refused_in_one_line(data):
    with pytest.raises(DataError, match="not a readable image") as caught:
        decode(data, 16, GREY)
    assert "\n" not in str(caught.value)


def test_floating_point_pixels_are_refused_rather_than_blackened():
    fractions = Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32))
    with pytest.raises(DataError, match="floating-point pixels have no fixed range"):
        decode(encoded(fractions, "TIFF"), 4, GREY)


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(DataError, match="not a readable image: image size 60 x 40 exceeds 2000 pixels"):
        decode(png(PIXELS), 16, GREY)
