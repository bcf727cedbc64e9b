"""Files whose pixels are not 8-bit grey or RGB, through ``prepare``: read as meant, or refused by name."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.cases.made import SIDE, picture, save
from trainables.core.data.decode.images import PixelFormat
from trainables.core.data.prepare import prepare
from trainables.core.errors import DataError

COUNT = 16


def save_tiff(pixels, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(file, pixels, **options)


def hounsfield(image, file, index):
    save_tiff((image / 255 * 700 - 1000).astype(np.int16), file.with_suffix(".tif"))


def white_is_zero(image, file, index):
    """Half of the files are inverted and say so."""
    deep = image.astype(np.uint16) * 257
    inverted = index % 2 == 1
    photometric = "miniswhite" if inverted else "minisblack"
    save_tiff(65535 - deep if inverted else deep, file.with_suffix(".tif"), photometric=photometric)


def twelve_bit_colour(image, file, index):
    channels = np.dstack([image, image[::-1], image[:, ::-1]]).astype(np.uint16) * 16
    save_tiff(channels, file.with_suffix(".tif"), photometric="rgb")


def unsigned_32_bit(image, file, index):
    save_tiff(image.astype(np.uint32) * 257, file.with_suffix(".tif"))


def mixed_depth(image, file, index):
    """The same scale at 8 and at 16 bits."""
    save(image if index % 2 else image.astype(np.uint16) * 257, file.with_suffix(".png"))


def palette_and_alpha(image, file, index):
    opaque = np.full_like(image, 255)
    palette = Image.fromarray(image).convert("P")
    options = {"transparency": 0} if index % 3 == 0 else {}
    save([palette, np.dstack([image, opaque]), np.dstack([image] * 3 + [opaque])][index % 3], file, **options)


def cmyk(image, file, index):
    colour = Image.fromarray(np.dstack([image] * 3))
    save(colour.convert("CMYK") if index % 2 else colour, file.with_suffix(".jpg"), quality=100, subsampling=0)


def stack(suffix):
    def write(image, file, index):
        pages = [Image.fromarray(picture(1, 100 * index + page + 50)) for page in range(3)]
        save(Image.fromarray(image), file.with_suffix(suffix), save_all=True, append_images=pages)

    return write


def floats(image, file, index):
    save_tiff(image.astype(np.float32) / 255, file.with_suffix(".tif"))


def write(root, save_one):
    """Write two classes with ``save_one`` and return the 8-bit pictures in the order of the file names."""
    pictures = []
    for kind, name in enumerate(("air", "fluid")):
        for index in range(COUNT):
            pictures.append(picture(kind, index))
            save_one(pictures[-1], root / name / f"{index:02}.png", index)
    return np.array(pictures)


def prepared(tmp_path):
    return prepare(str(tmp_path / "data"), sizes=[SIDE], seed=0, store=tmp_path / "store")


@pytest.mark.parametrize(
    ("save_one", "pixel_format"),
    [
        (white_is_zero, PixelFormat(1, 65535)),
        (unsigned_32_bit, PixelFormat(1, 65535)),
        (mixed_depth, PixelFormat(1, 65535)),
        (palette_and_alpha, PixelFormat(3, 255)),
        (cmyk, PixelFormat(3, 255)),
    ],
)
def test_every_encoding_of_a_picture_gives_the_same_pixels(tmp_path, save_one, pixel_format):
    pictures = write(tmp_path / "data", save_one)
    data = prepared(tmp_path)
    assert data.pixel_format == pixel_format
    difference = np.abs(data.images(SIDE).astype(int).mean(axis=3) - pictures)
    assert difference.max() <= (4 if save_one is cmyk else 1)  # JPEG loses a little


def test_hounsfield_units_keep_every_level(tmp_path):
    pictures = write(tmp_path / "data", hounsfield)
    data = prepared(tmp_path)
    assert data.pixel_format == PixelFormat(1, 255, -1024)
    units = np.trunc(pictures / 255 * 700 - 1000)
    np.testing.assert_allclose(data.images(SIDE)[..., 0], (units + 1024) * 255 / 1279, atol=0.51)


def test_12_bit_colour_fills_the_range(tmp_path):
    pictures = write(tmp_path / "data", twelve_bit_colour)
    data = prepared(tmp_path)
    assert data.pixel_format == PixelFormat(3, 4095)
    expected = np.stack([pictures, pictures[:, ::-1], pictures[:, :, ::-1]], axis=3) * 16.0 * 255 / 4095
    np.testing.assert_allclose(data.images(SIDE), expected, atol=0.51)


@pytest.mark.parametrize(
    ("save_one", "reason"),
    [
        (stack(".tif"), "it has 4 pages or frames: store each one as a file of its own"),
        (stack(".gif"), "it has 4 pages or frames"),
        (floats, "floating-point pixels have no fixed range: store 8 or 16 bits"),
    ],
)
def test_pixels_without_one_meaning_are_refused(tmp_path, save_one, reason):
    write(tmp_path / "data", save_one)
    with pytest.raises(DataError, match=f"has no usable image; the first one, air/00.*{reason}"):
        prepared(tmp_path)
