import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.dicom import write_dicom
from tests.images import png, write_classes, write_pairs, write_pets
from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.policies import POLICIES, PolicyOptions, source_size
from trainables.core.data.decode.masks import decode_mask, read_mask
from trainables.core.data.prepare import prepare
from trainables.core.data.source import MaskFormat
from trainables.core.errors import DataError


def prepared(root, tmp_path, **options):
    return prepare(str(root), sizes=[32], seed=0, store=tmp_path / "store", **options)


def test_pairs_become_masks_of_classes(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    data = prepared(root, tmp_path)
    assert data.class_names == ("foreground",) and data.image_classes == ()
    assert set(data.splits) == {"fit", "tune", "select", "test"} and all(map(len, data.splits.values()))
    masks = data.masks(32)
    assert (masks.shape, masks.dtype, masks.flags.writeable) == ((24, 32, 32), np.uint8, False)
    for index in range(24):
        expected = np.asarray(Image.open(root / "masks" / f"{index:03d}.png")) // 255
        assert np.array_equal(masks[index], expected)
    assert "0 is background, 255 is foreground" in data.notes[0]


def test_masks_of_another_size_keep_their_classes(tmp_path):
    data = prepared(write_pairs(tmp_path / "pairs", 24), tmp_path)
    small, large = data.masks(16), data.masks(64)
    assert set(np.unique(small)) == set(np.unique(large)) == {0, 1}
    assert np.array_equal(large[:, ::2, ::2], data.masks(32))


def test_the_border_of_a_pet_is_pet_and_the_published_test_split_is_used(tmp_path):
    root = write_pets(tmp_path, 40)
    data = prepared(root, tmp_path)
    assert data.class_names == ("pet",)
    trimap = np.asarray(Image.open(root / "oxford-iiit-pet" / "annotations" / "trimaps" / "Breed_0.png"))
    assert set(np.unique(trimap)) == {1, 2, 3}
    assert np.array_equal(data.masks(32)[0] == 1, trimap != 2)
    assert data.splits["test"].tolist() == list(range(30, 40))


def test_changing_a_mask_changes_the_fingerprint(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    before = prepared(root, tmp_path)
    (root / "masks" / "000.png").write_bytes(png(np.full((32, 32), 255, dtype=np.uint8)))
    after = prepared(root, tmp_path)
    assert before.fingerprint != after.fingerprint
    assert after.masks(32)[0].all()
    with pytest.raises(DataError, match="differs from the data that the search began with"):
        before.masks(48)


def broken(root, index, content):
    (root / "masks" / f"{index:03d}.png").write_bytes(content)


def test_bad_masks_are_refused_by_name_or_skipped_on_request(tmp_path):
    root = write_pairs(tmp_path / "pairs", 40)
    (root / "masks" / "001.png").unlink()
    broken(root, 2, png(np.zeros((30, 32), dtype=np.uint8)))
    broken(root, 3, b"no image")
    broken(root, 4, png(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)))
    with pytest.raises(DataError) as refused:
        prepared(root, tmp_path)
    message = str(refused.value)
    assert message.startswith(
        "every image must be readable, not blank, with a mask of its size, but 4 are not (images/001.png"
    )
    assert "\n" not in message and "--skip-bad-images" in message
    for part in (
        "images/001.png: has no mask",
        "images/002.png: its mask must have the image's size, 32 x 32, but is 32 x 30",
        "images/003.png: its mask is not a readable image",
        "images/004.png: its mask is in colour",
    ):
        assert part in message
    data = prepared(root, tmp_path, skip_bad_images=True)
    assert not np.isin([1, 2, 3, 4], np.concatenate(list(data.splits.values()))).any()
    assert "4 unusable images were left out" in data.notes


def in_colour(mask):
    grey = mask.convert("L")
    return Image.merge("RGB", (grey, grey.rotate(180), grey))


def cropped(mask):
    return mask.crop((0, 0, 30, 32))


@pytest.mark.parametrize(
    ("change", "reason"), [(in_colour, "is in colour"), (cropped, "must have the image's size, 32 x 32")]
)
def test_the_first_mask_is_named_if_none_can_be_used(tmp_path, change, reason):
    root = write_pairs(tmp_path / "pairs", 24)
    for file in (root / "masks").iterdir():
        change(Image.open(file)).save(file)
    with pytest.raises(DataError, match=f"no image has a usable mask; the first one, images/000.png: .* {reason}"):
        prepared(root, tmp_path, skip_bad_images=True)


def test_interpolated_masks_are_refused_with_the_remedy(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    for file in (root / "masks").iterdir():
        Image.open(file).resize((8, 8)).resize((32, 32), Image.Resampling.BILINEAR).save(file)
    message = r"at most 32 classes .*, but these have \d+ values \(0, 1, .*JPEG or interpolation: store PNGs"
    with pytest.raises(DataError, match=message):
        prepared(root, tmp_path)


@pytest.mark.parametrize(
    ("void", "message"),
    [(False, "the same value for the foreground, but some have 1 and others 255"), (True, "255, which usually marks")],
)
def test_two_values_of_the_foreground_are_no_void(tmp_path, void, message):
    root = write_pairs(tmp_path / "pairs", 24)
    for file in sorted((root / "masks").iterdir())[::2]:
        mask = np.asarray(Image.open(file)) // 255
        mask[0] = 255 * void
        file.write_bytes(png(mask))
    with pytest.raises(DataError, match=message):
        prepared(root, tmp_path)


def test_a_value_outside_the_layout_is_refused(tmp_path):
    root = write_pets(tmp_path, 24)
    trimap = root / "oxford-iiit-pet" / "annotations" / "trimaps" / "Breed_5.png"
    trimap.write_bytes(png(np.full((32, 32), 7, dtype=np.uint8)))
    with pytest.raises(DataError, match=r"Breed_5.jpg: its mask may only have the values 1, 2, 3, but has 7"):
        prepared(root, tmp_path)


def test_a_mask_without_an_image_is_refused(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    (root / "images" / "007.png").unlink()
    with pytest.raises(
        DataError, match=r"every mask needs an image of the same name, but 1 of 24 .* such as masks/007.png"
    ):
        prepared(root, tmp_path)


def test_class_folders_have_no_masks(tmp_path):
    data = prepared(write_classes(tmp_path / "data", {"a": 20, "b": 20}), tmp_path)
    with pytest.raises(DataError, match="needs masks"):
        data.masks(32)


@pytest.mark.parametrize("values", [(0,), (255,), (1, 2)])
def test_values_without_background_or_class_are_refused(values):
    with pytest.raises(DataError, match="0 for the background and one value per class"):
        MaskFormat.of_values(values)


def test_each_value_is_a_class():
    assert len(MaskFormat.of_values(range(33)).class_names) == 32
    mask_format = MaskFormat.of_values([0, 10, 20])
    assert mask_format.class_names == ("class_10", "class_20")
    assert MaskFormat.from_dict(mask_format.to_dict()) == mask_format
    encoded = png(np.array([[0, 10], [20, 0]], dtype=np.uint8))
    assert decode_mask(encoded, 2, mask_format).tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_every_mode_of_a_mask_is_read(tmp_path, mode):
    values = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    if mode == "1":
        image = Image.fromarray(values * 255).convert("1")
    elif mode == "P":
        image = Image.fromarray(values, mode="P")
        image.putpalette([10, 20, 30, 200, 100, 50])
    elif mode == "RGB":
        image = Image.fromarray(np.stack([values] * 3, axis=2))
    else:
        image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    image.save(tmp_path / "mask.png")
    assert read_mask((tmp_path / "mask.png").read_bytes()).tolist() == values.tolist()


CLASSES = np.random.default_rng(5).integers(0, 4, (64, 72))


def pnm(values, maximum, kind):
    values = np.repeat(values[:, :, None], 3, axis=2) if kind in (b"P3", b"P6") else values
    header = b"%s %d %d %d\n" % (kind, *values.shape[1::-1], maximum)
    if kind in (b"P2", b"P3"):
        return header + b" ".join(b"%d" % value for value in values.flat)
    return header + values.astype(">u2" if maximum > 255 else "u1").tobytes()


def tiff(values, **settings):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **settings)
    return buffer.getvalue()


MAXIMA = (3, 4, 7, 100, 128, 254, 255, 256, 1000, 4095, 32768, 65535)


@pytest.mark.parametrize(
    ("kind", "maximum"),
    [(kind, maximum) for kind in (b"P2", b"P3", b"P5", b"P6") for maximum in MAXIMA if kind != b"P3" or maximum < 256],
)
def test_pnm_masks_have_the_values_in_the_file_whatever_its_maximum(kind, maximum):
    np.testing.assert_array_equal(read_mask(pnm(CLASSES, maximum, kind)), CLASSES)
    brightest = CLASSES * (maximum // 3)
    np.testing.assert_array_equal(read_mask(pnm(brightest, maximum, kind)), brightest)


@pytest.mark.parametrize(
    "encoded",
    [
        tiff(CLASSES.astype(np.uint8)),
        tiff(CLASSES.astype(np.int8)),
        tiff(CLASSES.astype(np.uint16)),
        tiff(CLASSES.astype(np.int16)),
        tiff((65535 - CLASSES).astype(np.uint16), photometric="miniswhite"),
        tiff((255 - CLASSES).astype(np.uint8), photometric="miniswhite"),
        tiff(np.dstack([CLASSES] * 3).astype(np.uint16), photometric="rgb"),
        png(CLASSES.astype(np.uint16)),
        cv2.imencode(".jp2", CLASSES.astype(np.uint16), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes(),
    ],
)
def test_masks_of_any_depth_have_the_values_in_the_file(encoded):
    np.testing.assert_array_equal(read_mask(encoded), CLASSES)


def test_files_whose_values_a_viewer_scales_are_no_masks(tmp_path):
    with pytest.raises(DataError, match="its mask is a DICOM file, whose values a viewer scales: store PNGs"):
        read_mask(write_dicom(tmp_path / "mask.dcm", CLASSES.astype(np.uint16)).read_bytes())
    with pytest.raises(DataError, match="deep PPM images in mode RGB are not supported"):
        read_mask(pnm(CLASSES, 1000, b"P3"))


def test_pnm_masks_of_several_maxima_have_one_meaning(tmp_path):
    """Pillow makes class 1 of a file with the maximum 1 and class 3 of one with the maximum 3 equal."""
    root = write_pairs(tmp_path / "pairs", 24)
    expected = []
    for index, file in enumerate(sorted((root / "masks").iterdir())):
        highest = 1 + index % 3
        expected.append(np.asarray(Image.open(file)) // 255 * highest)
        file.with_suffix(".pgm").write_bytes(pnm(expected[-1], highest, (b"P2", b"P5")[index % 2]))
        file.unlink()
    data = prepared(root, tmp_path)
    assert data.class_names == ("class_1", "class_2", "class_3")
    np.testing.assert_array_equal(data.masks(32), expected)


def two_bits(values):
    """Encode a grey PNG of 2 bits per sample by the specification; Pillow cannot."""
    packed = np.pad(values, ((0, 0), (0, -values.shape[1] % 4))).reshape(len(values), -1, 4) @ [64, 16, 4, 1]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", values.shape[1], len(values), 2, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in packed))),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_masks_of_fewer_bits_are_not_mixed_with_others(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    files = sorted((root / "masks").iterdir())
    discs = [np.asarray(Image.open(file)) // 255 for file in files]
    for file, disc in zip(files, discs, strict=True):
        file.write_bytes(two_bits(3 * disc))
    np.testing.assert_array_equal(prepared(root, tmp_path).masks(32), discs)
    files[0].write_bytes(png(np.zeros((32, 32), np.uint8)))  # 0 means the same at any depth
    assert prepared(root, tmp_path).class_names == ("foreground",)
    files[0].write_bytes(png(3 * discs[0]))
    with pytest.raises(DataError, match="some have 2 and some 8, so that one value may stand for several classes"):
        prepared(root, tmp_path)
    for file, disc in zip(files, discs, strict=True):
        Image.fromarray(255 * disc).convert("1").save(file)
    files[0].write_bytes(png(discs[0]))
    np.testing.assert_array_equal(prepared(root, tmp_path).masks(32), discs)
    files[0].write_bytes(png(255 * discs[0]))
    with pytest.raises(DataError, match="some have 1 and some 8"):
        prepared(root, tmp_path)


@pytest.mark.parametrize("policy", POLICIES)
def test_masks_are_augmented_with_their_images(policy):
    """The mask marks the bright disc of its image before and after any transform."""
    size = source_size(policy, 64)
    rows, columns = np.mgrid[:size, :size]
    mask = ((rows - 20) ** 2 + (columns - 40) ** 2 < 150).astype(np.uint8)
    image = np.repeat((60 + 140 * mask)[:, :, None], 3, axis=2)
    augment = Augmenter(policy, PolicyOptions(64), seed=3)
    for epoch in range(1, 9):
        moved, moved_mask = augment.pair(image, mask, 0, epoch)
        assert np.array_equal(moved, augment(image, 0, epoch))
        assert moved_mask.shape == (64, 64) and set(np.unique(moved_mask)) <= {0, 1}
        grey = moved.mean(axis=2)
        middle = (grey[moved_mask == 1].mean() + grey[moved_mask == 0].mean()) / 2
        assert ((grey > middle) == (moved_mask == 1)).mean() > 0.97


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGB"])
def test_alpha_and_equal_channels_do_not_make_a_mask_coloured(mode):
    values = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    mask = Image.fromarray(values).convert(mode)
    if "A" in mode:
        mask.putalpha(Image.fromarray(np.array([[9, 255], [0, 128]], dtype=np.uint8)))
    buffer = io.BytesIO()
    mask.save(buffer, format="PNG")
    np.testing.assert_array_equal(read_mask(buffer.getvalue()), values)


def with_palette(values, colours):
    image = Image.fromarray(values, "P")
    image.putpalette(np.ravel(colours).tolist())
    return image


BLACK, WHITE, RED, GREEN = [0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]


def test_a_palette_of_greys_may_have_any_order(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    expected = prepared(root, tmp_path).masks(32)
    for index, file in enumerate(sorted((root / "masks").iterdir())):
        mask = np.asarray(Image.open(file)) // 255
        colours = [BLACK, WHITE] if index % 2 else [WHITE, BLACK]
        with_palette(mask if index % 2 else 1 - mask, colours).save(file)
    data = prepared(root, tmp_path)
    assert np.array_equal(data.masks(32), expected) and expected.any()
    assert data.mask_format.classes == {0: 0, 255: 1}


def test_palettes_in_which_a_value_has_several_colours_are_refused(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    for index, file in enumerate(sorted((root / "masks").iterdir())):
        mask = np.asarray(Image.open(file)) // 255
        with_palette(mask, [BLACK, GREEN if index == 5 else RED]).save(file)
    with pytest.raises(DataError, match=r"but 1 has \(255, 0, 0\) and \(0, 255, 0\): store grey masks"):
        prepared(root, tmp_path)


def test_masks_are_turned_like_their_images(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    expected = prepared(root, tmp_path).masks(32)
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    for file in (root / "masks").iterdir():
        Image.open(file).rotate(180).save(file, exif=exif)
    assert np.array_equal(prepared(root, tmp_path).masks(32), expected)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("JPEG", {"quality": 100}),
        ("WEBP", {"quality": 100}),
        ("TIFF", {"compression": "jpeg"}),
        ("JPEG2000", {"irreversible": True}),
    ],
)
def test_lossy_masks_are_refused(kind, settings):
    with pytest.raises(DataError, match=f"its mask is a {kind} with lossy compression, .*: store PNGs"):
        read_mask(saved(kind, **settings))


@pytest.mark.parametrize(
    ("kind", "settings"), [("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG2000", {"irreversible": False})]
)
def test_lossless_masks_are_read(kind, settings):
    assert np.unique(read_mask(saved(kind, **settings))).tolist() == [0, 255]


def saved(kind, **settings):
    values = np.zeros((32, 32), np.uint8)
    values[8:20, 8:20] = 255
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind, **settings)
    return buffer.getvalue()


def test_values_only_at_edges_are_no_classes(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    for file in (root / "masks").iterdir():
        mask = Image.open(file).point(lambda value: 255 * (value > 0)).crop((0, 0, 16, 16))
        mask.resize((32, 32), Image.Resampling.BILINEAR).save(file)
    with pytest.raises(DataError, match="are only at the edges of others, as after interpolation: resize masks by nea"):
        prepared(root, tmp_path)


def test_a_thin_border_may_be_a_class(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    for file in (root / "masks").iterdir():
        values = np.asarray(Image.open(file)) // 255
        inside = cv2.erode(values, np.ones((3, 3), np.uint8))
        file.write_bytes(png(values + inside))
    assert prepared(root, tmp_path).class_names == ("class_1", "class_2")


def test_an_empty_mask_file_is_not_a_missing_one(tmp_path):
    root = write_pairs(tmp_path / "pairs", 24)
    broken(root, 3, b"")
    with pytest.raises(DataError, match="images/003.png: its mask is not a readable image: the file is empty, copy it"):
        prepared(root, tmp_path)


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png"])
def test_images_on_their_side_have_masks_as_they_are_shown(tmp_path, suffix):
    root = write_pairs(tmp_path / "pairs", 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    for index in range(24):
        file = root / "images" / f"{index:03d}.png"
        image = Image.open(file).crop((0, 0, 32, 20))
        file.unlink()
        image.save(file.with_suffix(f".{suffix}"), exif=exif)
        mask = np.asarray(Image.open(root / "masks" / file.name)).T[:, :20]
        (root / "masks" / file.name).write_bytes(png(np.ascontiguousarray(mask)))
    assert not prepared(root, tmp_path).bad_masks
