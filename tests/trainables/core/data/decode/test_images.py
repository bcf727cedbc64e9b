import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.images import png
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.decode.survey import survey
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


def smooth_colours() -> np.ndarray:
    waves = np.sin(np.arange(48)[:, None] / 9), np.cos(np.arange(64)[None] / 11)
    return np.dstack(
        [128 + 100 * waves[0] * waves[1], 128 + 90 * waves[1] + 0 * waves[0], 128 - 90 * waves[0] * waves[1]]
    )


def ycck(colours: np.ndarray) -> bytes:
    """Return a JPEG as Photoshop writes CMYK: YCC of the inverse of stored CMY, and K, marked by transform 2."""
    stored = 255 - np.asarray(Image.fromarray(colours).convert("CMYK"))
    ycc = np.asarray(Image.fromarray(255 - stored[:, :, :3]).convert("YCbCr"))
    written = 255 - np.dstack([ycc, stored[:, :, 3]])  # Pillow inverts what it writes
    data = bytearray(encoded(Image.fromarray(written, "CMYK"), "JPEG", quality=95, subsampling=0))
    data[data.find(b"Adobe") + 11] = 2
    return bytes(data)


def old_jpeg_tiff(colours: np.ndarray) -> bytes:
    """Return a TIFF of compression 6, which TIFF 6.0 defined and which tag 513 leads to a whole JPEG file."""
    jpeg = encoded(Image.fromarray(colours), "JPEG", quality=95, subsampling=0)
    height, width = colours.shape[:2]
    plain = {
        256: width,
        257: height,
        259: 6,
        262: 6,
        277: 3,
        278: height,
        279: len(jpeg),
        284: 1,
        512: 1,
        514: len(jpeg),
    }
    bits = 8 + 2 + 12 * (len(plain) + 4) + 4
    tags = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in plain.items()}
    tags |= {tag: struct.pack("<HHII", tag, 4, 1, bits + 6) for tag in (273, 513)}
    tags |= {258: struct.pack("<HHII", 258, 3, 3, bits), 530: struct.pack("<HHIHH", 530, 3, 2, 1, 1)}
    directory = struct.pack("<H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags)) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 8, 8, 8) + jpeg


def bmp_of_16_bits(colours: np.ndarray) -> bytes:
    """Return a BMP with 5, 6 and 5 bits for the colours."""
    red, green, blue = (colours.astype(np.uint16) >> np.array([3, 2, 3])).transpose(2, 0, 1)
    pixels = (red << 11 | green << 5 | blue)[::-1].astype("<u2").tobytes()
    (height, width), masks = colours.shape[:2], struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + header + masks + pixels


@pytest.mark.parametrize("write", [ycck, old_jpeg_tiff, bmp_of_16_bits])
def test_rare_kinds_of_files_have_the_right_colours(write):
    colours = smooth_colours().astype(np.uint8)
    decoded = decode(write(colours), 48, COLOUR).astype(int)
    expected = np.asarray(Image.fromarray(colours).resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded - expected).mean() < 3


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bit_jpeg_2000_keeps_its_depth(channels):
    openjpeg = pytest.importorskip("openjpeg.utils")
    deep = (smooth_colours()[:, :, :channels] * 16).astype(np.uint16)
    kind = {"photometric_interpretation": 1 if channels == 3 else 2, "codec_format": 1}
    files = Files(bytes(openjpeg.encode_array(deep.squeeze(), bits_stored=12, **kind)))
    decoded = decode(files.read(0), 64, survey(files, threads=1).pixel_format).astype(float)
    rows = [np.asarray(Image.fromarray(plane).resize((64, 64), Image.Resampling.BILINEAR)) for plane in deep.T / 16]
    assert np.abs(decoded - np.dstack([row.T for row in rows])).mean() < 1


def test_a_coloured_mark_on_a_grey_image_may_fill_a_box_and_a_colour_image_stays_one():
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (100, 100, 1), dtype=np.uint8), 3, axis=2)
    marked = grey.copy()
    marked[45:52, 45:52] = [255, 0, 0]
    box = (44, 44, 53, 53)
    expected = np.asarray(Image.fromarray(marked).crop(box).convert("L"))
    np.testing.assert_array_equal(decode(png(marked), 9, GREY, box)[:, :, 0], expected)
    coloured = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    coloured[40:60, 40:60] = grey[40:60, 40:60]
    with pytest.raises(DataError, match="it is in colour, but grey images are expected"):
        decode(png(coloured), 9, GREY, box)
