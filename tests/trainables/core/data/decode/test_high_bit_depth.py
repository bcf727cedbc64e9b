"""Every format, depth, sign, photometric interpretation and number of channels against tifffile and numpy."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images import png
from trainables.core.data.decode.high_bit_depth import deep_samples
from trainables.core.data.decode.images import PixelFormat, decode, open_image
from trainables.core.data.decode.survey import survey
from trainables.core.errors import DataError

SIDE = 24
RANGES = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "12 bits": (0, 4095),
    "int16": (-1000, 3000),
    "uint32": (0, 70000),
}


class Files(list):
    def read(self, index):
        return self[index]


def samples(kind, channels=1):
    low, high = RANGES[kind]
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    drawn = np.random.default_rng(0).integers(low, high + 1, shape)
    drawn.flat[:2] = low, high
    return drawn.astype({"12 bits": np.uint16}.get(kind, kind))


def tiff(values, photometric="minisblack", **settings):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric=photometric, **settings)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def deep_png(values, colour_type):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ppm(values, maximum=65535):
    kind = b"P5" if values.ndim == 2 else b"P6"
    return b"%s %d %d %d\n" % (kind, *values.shape[1::-1], maximum) + values.astype(">u2").tobytes()


def plain_pgm(values, maximum):
    return b"P2 %d %d %d\n" % (*values.shape[::-1], maximum) + b" ".join(b"%d" % value for value in values.flat)


def jpeg2000(values):
    done, encoded = cv2.imencode(".jp2", values, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    assert done
    return encoded.tobytes()


def openjpeg(values, bits, codec=1):
    """Encode losslessly with another library than the one that decodes."""
    encode = pytest.importorskip("openjpeg.utils").encode_array
    kind = {1: 2, 3: 1, 4: 0}[1 if values.ndim == 2 else values.shape[2]]
    settings = {"photometric_interpretation": kind, "use_mct": False, "codec_format": codec}
    return bytes(encode(values, bits_stored=bits, **settings))


def whole_range(bits, signed, channels=1):
    low = -(2 ** (bits - 1)) if signed else 0
    drawn = np.random.default_rng(0).integers(low, low + 2**bits, (64, 64, channels))
    drawn.flat[:2] = low, low + 2**bits - 1
    return drawn.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}").squeeze(-1 if channels == 1 else ())


def deep(data):
    with open_image(data) as image:
        return deep_samples(image, data)


def expected(values, pixel_format):
    """Return the values scaled to 8 bits, by definition."""
    black, white = pixel_format.black, pixel_format.white
    return np.round((values.astype(np.float64) - black) * 255 / (white - black))


def check(data, values):
    """Check that the file decodes to the values, scaled by the range that the survey finds."""
    pixel_format = survey(Files([data]), threads=1).pixel_format
    assert pixel_format.channels == (1 if values.ndim == 2 else 3)
    decoded = decode(data, SIDE, pixel_format)
    wanted = expected(values, pixel_format)
    np.testing.assert_allclose(decoded[:, :, 0] if values.ndim == 2 else decoded, wanted, atol=1)
    assert len(np.unique(decoded)) > 100


@pytest.mark.parametrize("kind", list(RANGES))
def test_grey_tiff(kind):
    data = tiff(samples(kind))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), samples(kind))
    check(data, samples(kind))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_tiff_in_which_white_is_zero(kind):
    check(tiff(samples(kind), "miniswhite"), RANGES[kind][1] - samples(kind).astype(np.int64))


def test_signed_tiff_in_which_white_is_zero_is_refused():
    with pytest.raises(DataError, match="not a readable image"):
        decode(tiff(samples("int16"), "miniswhite"), SIDE, PixelFormat(1, 4095, -1024))


@pytest.mark.parametrize(
    ("values", "settings", "described"),
    [
        (
            np.zeros((8, 8), np.int16),
            {"photometric": "miniswhite"},
            "1 sample of 16 signed bits per pixel with white as",
        ),
        (np.zeros((8, 8, 3), np.int16), {"photometric": "rgb"}, "3 samples of 16 signed bits per pixel"),
        (np.zeros((8, 8), np.int64), {}, "1 sample of 64 signed bits per pixel"),
        (np.zeros((8, 8), np.uint64), {"bigtiff": True}, "1 sample of 64 unsigned bits per pixel"),
        (np.zeros((8, 8), np.uint32), {"byteorder": ">"}, "1 sample of 32 unsigned bits per pixel"),
        (np.zeros((8, 8), np.float64), {}, "1 sample of 64 floating-point bits per pixel"),
    ],
)
def test_tiff_that_cannot_be_read_is_described(values, settings, described):
    data = tiff(values, **settings)
    with pytest.raises(DataError, match=f"not a readable image: TIFF of {described}.* is not supported: store 8 or 16"):
        decode(data, 8, PixelFormat(1, 255))
    for end in range(0, len(data), 7):
        with pytest.raises(DataError, match="not a readable image|TIFF of"):
            decode(data[:end], 8, PixelFormat(1, 255))


@pytest.mark.parametrize("kind", ["uint8", "12 bits", "uint16"])
def test_colour_tiff(kind):
    check(tiff(samples(kind, 3), "rgb"), samples(kind, 3))


@pytest.mark.parametrize("kind", ["12 bits", "uint16"])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_deep_png(kind, channels, colour_type):
    values = samples(kind, channels)
    check(deep_png(values, colour_type), {2: values[..., 0], 4: values[..., :3]}.get(channels, values))


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_ppm(channels):
    check(ppm(samples("uint16", channels)), samples("uint16", channels))


@pytest.mark.parametrize("maximum", [300, 1000, 4095, 65535])
def test_every_sample_of_ppm_is_the_one_in_the_file(maximum):
    """Pillow stretches grey samples to 65535, so that they would be brighter than those of other 12-bit formats."""
    grey = np.arange(maximum + 1, dtype=np.uint16)[:: maximum // 300].reshape(1, -1)
    colour = np.dstack([grey, grey[:, ::-1], grey // 2])
    for values, data in ((grey, ppm(grey, maximum)), (grey, plain_pgm(grey, maximum)), (colour, ppm(colour, maximum))):
        np.testing.assert_array_equal(deep(data), values)


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_sample_of_grey_jpeg_2000_is_the_one_in_the_file(bits, signed, codec):
    """Pillow shifts samples to 16 bits, so that 12-bit ones would be brighter than those of other formats."""
    values = whole_range(bits, signed)
    data = openjpeg(values, bits, codec)
    if (bits, signed) == (8, False):
        assert deep(data) is None
        np.testing.assert_array_equal(decode(data, 64, PixelFormat(1, 255))[:, :, 0], values)
    else:
        np.testing.assert_array_equal(deep(data), values)


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_sample_of_colour_jpeg_2000_is_the_one_in_the_file(bits, channels, codec):
    values = whole_range(bits, False, channels)
    data = openjpeg(values, bits, codec)
    if bits == 8:
        np.testing.assert_array_equal(decode(data, 64, PixelFormat(3, 255)), values[..., :3])
    else:
        np.testing.assert_array_equal(deep(data), values[..., :3])


@pytest.mark.parametrize(
    ("bits", "signed", "channels"),
    [(1, False, 1), (4, False, 1), (4, True, 1), (4, False, 3), (8, True, 3), (12, True, 3)],
)
def test_jpeg_2000_that_would_come_out_dark_or_shifted_is_refused(bits, signed, channels):
    data = openjpeg(whole_range(bits, signed, channels), bits)
    with pytest.raises(DataError, match="JPEG 2000 (in colour )?must have (at least )?8"):
        decode(data, 64, PixelFormat(channels, 255))


def test_grey_and_coloured_jpeg_2000_of_12_bits_share_a_scale():
    grey = np.full((64, 64), 2048, dtype=np.uint16)
    files = Files([openjpeg(grey, 12), openjpeg(np.dstack([grey] * 3), 12), tiff(grey), openjpeg(grey * 0 + 4095, 12)])
    pixel_format = survey(files, threads=1).pixel_format
    assert pixel_format.white == 4095
    assert [int(decode(data, 8, pixel_format)[0, 0, 0]) for data in files] == [128, 128, 128, 255]


def test_the_range_of_computed_tomography_reaches_below_zero():
    assert survey(Files([tiff(samples("int16"))]), threads=1).pixel_format == PixelFormat(1, 4095, -1024)


def test_deep_images_are_turned_as_their_exif_tag_says():
    values = samples("uint16")[:, :16]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, format="PNG", exif=exif)
        upright = io.BytesIO()
        Image.fromarray((values >> 8).astype(np.uint8)).save(upright, format="PNG", exif=exif)
        of_16_bits = decode(buffer.getvalue(), SIDE, PixelFormat(1, 65535)).astype(int)
        shallow = decode(upright.getvalue(), SIDE, PixelFormat(1, 255)).astype(int)
        assert np.abs(of_16_bits - shallow).max() <= 2, orientation


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_tiff_is_turned_once(channels):
    values = samples("uint16", channels)
    turned = [values, values[:, ::-1], values[::-1, ::-1], values[::-1]]
    turned += [image.swapaxes(0, 1) for image in (values, values[::-1], values[::-1, ::-1], values[:, ::-1])]
    for orientation, upright in enumerate(turned, start=1):
        tag = (0x0112, "H", 1, orientation, True)
        check(tiff(values, "rgb" if channels == 3 else "minisblack", extratags=[tag]), upright)


def test_deep_tiff_with_separate_colour_planes_is_refused():
    planes = np.moveaxis(samples("uint16", 3), 2, 0)
    with pytest.raises(DataError, match="separate colour planes are not supported: interleave the colours"):
        decode(tiff(planes, "rgb", planarconfig="separate"), SIDE, PixelFormat(3, 65535))


def test_deep_tiff_with_premultiplied_alpha_is_refused():
    """OpenCV leaves the colours multiplied, so that they would come out dark."""
    colours, alpha = samples("uint16", 3), np.full((SIDE, SIDE, 1), 65535, dtype=np.uint16)
    check(tiff(np.dstack([colours, alpha]), "rgb", extrasamples=["assocalpha"]), colours)
    with pytest.raises(DataError, match="multiplied by their alpha are not supported"):
        decode(tiff(np.dstack([colours, alpha // 2]), "rgb", extrasamples=["assocalpha"]), SIDE, PixelFormat(3, 65535))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_files_of_several_pages_are_refused_by_name(kind):
    pages = [Image.fromarray(np.full((8, 8), 30 * index, dtype=np.uint8)) for index in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, format=kind, save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="it has 3 pages or frames: store each one as a file of its own"):
        decode(buffer.getvalue(), 8, PixelFormat(3, 255))


def test_values_beyond_the_range_are_refused_rather_than_saturated():
    with pytest.raises(DataError, match="reach from 0 to 65535, but values from 0 to 255 are expected"):
        decode(tiff(samples("uint16")), SIDE, PixelFormat(1, 255))
    with pytest.raises(DataError, match="reach from -1000 to 3000, but values from 0 to 4095 are expected"):
        decode(tiff(samples("int16")), SIDE, PixelFormat(1, 4095))


def test_colour_is_refused_where_all_images_are_grey():
    colour = samples("uint8", 3)
    with pytest.raises(DataError, match="it is in colour, but grey images are expected"):
        decode(png(colour), SIDE, PixelFormat(1, 255))
    grey = np.repeat(samples("uint8")[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(decode(png(grey), SIDE, PixelFormat(1, 255))[:, :, 0], grey[:, :, 0])


def test_jpeg_2000_with_deep_colour_is_decoded_or_refused():
    values = samples("12 bits", 3)
    try:
        data = jpeg2000(values)
    except (AssertionError, cv2.error):
        pytest.skip("this OpenCV does not write JPEG 2000")
    with open_image(data):
        pass
    check(data, values[:, :, ::-1])


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("channels", "photometric", "count"), [(2, "minisblack", 2), (5, "rgb", 5), (6, "minisblack", 6)]
)
def test_tiff_with_further_samples_is_refused(kind, channels, photometric, count):
    """Pillow drops all but the first one or three, as of fluorescence images."""
    values = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, channels)).astype(kind)
    data = tiff(values, photometric, planarconfig="contig")
    with pytest.raises(
        DataError, match=f"has {count} samples per pixel: store grey or RGB|{count} samples of .* not supp"
    ):
        decode(data, SIDE, PixelFormat(3, 65535))
