import io
import zlib

import numpy as np
import pytest
from PIL import Image

from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.errors import DataError

GENERATOR = np.random.default_rng(0)
COLOUR = PixelFormat(3, 255)


def encoded(kind, side=96, **options):
    buffer = io.BytesIO()
    Image.fromarray(GENERATOR.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, format=kind, **options)
    return buffer.getvalue()


def with_zeros(data, start, stop):
    return data[:start] + bytes(stop - start) + data[stop:]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("progressive", [False, True])
def test_zeros_in_place_of_the_end_of_a_jpeg(share, progressive):
    data = encoded("JPEG", progressive=progressive)
    with pytest.raises(DataError, match="its end is missing, and zeros take its place: copy it again"):
        decode(with_zeros(data, int(share * len(data)), len(data)), 96, COLOUR)


def test_a_jpeg_may_be_padded_and_have_a_thumbnail():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = encoded("JPEG", 16)  # a maker's note with a picture of its own
    data = encoded("JPEG", exif=exif)
    np.testing.assert_array_equal(decode(data + bytes(100), 96, COLOUR), decode(data, 96, COLOUR))
    with pytest.raises(DataError, match="its end is missing"):
        decode(with_zeros(data, len(data) - 2000, len(data)), 96, COLOUR)


@pytest.mark.parametrize("start", [0.3, 0.6, 0.95])
def test_damaged_pixels_of_a_png(start):
    data = encoded("PNG", compress_level=1)
    first = int(start * len(data))
    with pytest.raises(DataError, match="checksum in the file is wrong, so it is damaged: copy it again"):
        decode(with_zeros(data, first, first + 100), 96, COLOUR)
    assert decode(data, 96, COLOUR).shape == (96, 96, 3)


def test_a_png_in_many_chunks():
    data = encoded("PNG")
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    contents = [b"IDAT" + data[at : at + 500] for at in range(start + 8, start + 8 + length - 500, 500)]
    contents.append(b"IDAT" + data[start + 8 + 500 * len(contents) : start + 8 + length])
    chunks = [
        (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big") for content in contents
    ]
    again = data[:start] + b"".join(chunks) + data[start + 12 + length :]
    np.testing.assert_array_equal(decode(again, 96, COLOUR), decode(data, 96, COLOUR))


def pnm(values, maximum, kind=b"P5"):
    return b"%s %d %d %d\n" % (kind, *values.shape[1::-1], maximum) + values.tobytes()


@pytest.mark.parametrize("kind", ["u1", ">u2"])
def test_images_after_the_first_one_of_a_pnm_file(kind):
    one = pnm(np.full((16, 16), 40, kind), 50 if kind == "u1" else 500)
    assert decode(one + b"\n", 16, PixelFormat(1, 511)).shape == (16, 16, 1)
    with pytest.raises(DataError, match="it has data after its image, perhaps further images: store each one"):
        decode(one + one, 16, PixelFormat(1, 511))
    bits = b"P4 9 16\n" + bytes(32)
    assert not decode(bits.replace(b"\0", b"\xff"), 16, PixelFormat(1, 255)).any()
    with pytest.raises(DataError, match="it has data after its image"):
        decode(bits + bits, 16, PixelFormat(1, 255))


@pytest.mark.parametrize(("kind", "values"), [("u1", 60), (">u2", 600)])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_samples_of_a_pnm_file_above_its_maximum(kind, values, magic):
    samples = np.full((16, 16) if magic == b"P5" else (16, 16, 3), values, kind)
    with pytest.raises(DataError, match=f"its samples must not exceed {values - 1}, .* but reach {values}"):
        decode(pnm(samples, values - 1, magic), 16, PixelFormat(3, 1023))
    with pytest.raises(DataError, match="truncated|not enough image data|not supported"):
        decode(pnm(samples, values, magic)[:-3], 16, PixelFormat(3, 1023))
