"""Decoding of masks. One survey per data set finds which values they have."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.core.cpus import available_cpus
from trainables.core.data.decode.dicom import is_dicom
from trainables.core.data.decode.high_bit_depth import grey_bits, stored_samples
from trainables.core.data.decode.images import open_image
from trainables.core.data.source import MaskFormat, Masks, Source
from trainables.core.errors import DataError
from trainables.core.node_cache import Store

# Part of every cache key. Raise it whenever the same bytes would become other masks, or none.
MASK_VERSION = 5
Colour = tuple[int, ...]
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp"})  # compressions within TIFF files
_WEBP_HEADER = 4096  # bytes that hold the beginning of the pixels
_SHOWN = 5  # values in a line
_BETWEEN_SHARE = 0.1  # largest share of the pixels that interpolation changes at the edges of regions


@dataclass(frozen=True)
class MaskSurvey:
    """Findings about the masks of a data set.

    Attributes:
        format: Meaning of their values.
        bad: Reason why a mask cannot be used, by the image's index.
    """

    format: MaskFormat
    bad: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class _Mask:
    """A mask as it is stored.

    Attributes:
        values: (H, W) values, turned like the image.
        colours: Colour in the palette of each value that occurs, or None.
        bits: Bits per sample, if Pillow stretches them to 8 bits, else 8.
    """

    values: NDArray[np.int64]
    colours: Mapping[int, Colour | None]
    bits: int = 8


@dataclass(frozen=True)
class _Look:
    """Findings about one mask.

    Attributes:
        bad: Reason why it cannot be used, or "".
        colours: As in ``_Mask``.
        bits: As in ``_Mask``.
        pixels: Number of pixels of each value.
        filled: Values that fill a square of 3 x 3 pixels somewhere.
    """

    bad: str
    colours: Mapping[int, Colour | None] = field(default_factory=dict)
    bits: int = 8
    pixels: Mapping[int, int] = field(default_factory=dict)
    filled: frozenset[int] = frozenset()


def surveyed_masks(source: Source, fingerprint: str, store: Store) -> MaskSurvey | None:
    """Return the survey of a data set's masks, made once per node; None without masks."""
    masks = source.masks
    if masks is None:
        return None

    def write(folder: Path) -> None:
        found = survey_masks(masks, source)
        (folder / "masks.json").write_text(json.dumps({**found.format.to_dict(), "bad": list(found.bad.items())}))

    def read(folder: Path) -> MaskSurvey:
        raw = json.loads((folder / "masks.json").read_text())
        return MaskSurvey(MaskFormat.from_dict(raw), dict(raw["bad"]))

    return store.read(f"mask-format-{fingerprint[:32]}-v{MASK_VERSION}", write, read, size=1000)


def survey_masks(masks: Masks, source: Source) -> MaskSurvey:
    """Read every mask of a source, and the size of every image.

    Raises:
        DataError: No mask can be used, or their values have no meaning, or different ones in different palettes.
        OSError: A file cannot be read that ``source.unreadable`` does not name.
    """

    def look(index: int) -> _Look:
        if index in source.unreadable:
            return _Look(source.unreadable[index])
        try:
            mask = _read(masks.read_bytes(index))
            why = _wrong_size(mask.values, source.read(index)) or _wrong_values(list(mask.colours), masks.format)
            return _Look(why, mask.colours, mask.bits, *_extents(mask.values))
        except DataError as error:
            return _Look(str(error))

    with ThreadPoolExecutor(available_cpus()) as pool:
        looks = list(pool.map(look, range(len(source))))
    bad = {index: look.bad for index, look in enumerate(looks) if look.bad}
    if len(bad) == len(source):
        raise DataError(f"no image has a usable mask; the first one, {source.names[0]}: {bad[0]}")
    usable = [look for look in looks if not look.bad]
    _check_palettes([look.colours for look in usable])
    _check_bits([(max(look.colours), look.bits) for look in usable])
    if masks.format is not None:
        return MaskSurvey(masks.format, bad)
    _check_one_foreground([look.colours.keys() for look in usable])
    mask_format = MaskFormat.of_values(sorted({value for look in usable for value in look.colours}))
    _check_not_interpolated(usable)
    return MaskSurvey(mask_format, bad)


def _extents(values: NDArray[np.int64]) -> tuple[Mapping[int, int], frozenset[int]]:
    """Return the number of pixels of each value, and the values that fill a square of 3 x 3 pixels somewhere."""
    found, counts = np.unique(values, return_counts=True)
    rows = values[:, 1:] == values[:, :-1]
    in_rows = rows[:, 1:] & rows[:, :-1]  # three alike, beginning at each pixel
    columns = values[1:, :-2] == values[:-1, :-2]
    squares = in_rows[:-2] & in_rows[1:-1] & in_rows[2:] & columns[:-1] & columns[1:]
    filled = np.unique(values[:-2, :-2][squares])
    return dict(zip(found.tolist(), counts.tolist(), strict=True)), frozenset(filled.tolist())


def _check_not_interpolated(looks: Sequence[_Look]) -> None:
    """Raise DataError if several values lie only at edges, as after a resize that mixes neighbouring values."""
    filled = sorted(set[int]().union(*(look.filled for look in looks)))
    pixels = Counter[int]()
    for look in looks:
        pixels.update(look.pixels)
    between = [value for value in sorted(pixels) if value not in filled and filled[:1] < [value] < filled[-1:]]
    found = ", ".join(map(str, between[:_SHOWN])) + ", ..." * (len(between) > _SHOWN)
    if len(between) > 1 and sum(pixels[value] for value in between) <= _BETWEEN_SHARE * pixels.total():
        raise DataError(
            f"each value of the masks must be a class, but {len(between)} values ({found}) "
            "are only at the edges of others, as after interpolation: resize masks by nearest neighbour"
        )


def _check_one_foreground(values: Sequence[Set[int]]) -> None:
    """Raise DataError if some masks have the values 0 and 1, and others 0 and 255."""
    if set[int]().union(*values) == {0, 1, 255} and not any({1, 255} <= of_mask for of_mask in values):
        raise DataError(
            "all masks must have the same value for the foreground, but some have 1 and others 255: store all with one "
            "of them"
        )


def _check_palettes(masks: Sequence[Mapping[int, Colour | None]]) -> None:
    """Raise DataError if an index stands for different colours in different masks."""
    first: dict[int, Colour] = {}
    for value, colour in ((value, colour) for colours in masks for value, colour in colours.items() if colour):
        if first.setdefault(value, colour) != colour:
            raise DataError(
                f"a value must have the same colour in the palettes of all masks, but {value} has {first[value]} and "
                f"{colour}: store grey masks in which each value is one class"
            )


def _check_bits(masks: Sequence[tuple[int, int]]) -> None:
    """Raise DataError if masks of fewer than 8 bits, whose values are stretched, are mixed with others.

    Args:
        masks: Largest value and bits per sample of each mask.
    """
    found = sorted({bits for largest, bits in masks if largest > 0})
    if len(found) > 1 and max(largest for largest, _ in masks) > 1:
        raise DataError(
            f"all masks must have the same number of bits per pixel, but some have {found[0]} and some {found[-1]}, so "
            "that one value may stand for several classes: store all with 8 bits"
        )


def read_mask(data: bytes | None) -> NDArray[np.int64]:
    """Return the (H, W) values of a mask file as an image viewer turns it: grey values, or indices of a palette.

    Raises:
        DataError: The mask is missing (None), unreadable, in colour, or in a format that changes values.
    """
    return _read(data).values


def _read(data: bytes | None) -> _Mask:
    if data is None:
        raise DataError("has no mask")
    if is_dicom(data):
        raise DataError("its mask is a DICOM file, whose values a viewer scales: store PNGs")
    palette = np.zeros((0, 3), dtype=np.int64)
    try:
        with open_image(data) as image:
            _check_lossless(image, data)
            bits = grey_bits(image)
            values = stored_samples(image, data)
            if image.mode == "P":
                palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    except DataError as error:
        raise DataError(f"its mask is {error}") from error
    if values.ndim == 3:
        channels = values[:, :, :-1] if values.shape[2] in (2, 4) else values  # alpha says nothing about classes
        if (channels == channels[:, :, :1]).all():
            values = channels[:, :, 0]
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise DataError("its mask is in colour, but a mask has one whole number per pixel")
    found = np.unique(values)
    if not len(palette) or found[-1] >= len(palette):
        return _Mask(values.astype(np.int64), dict.fromkeys(found.tolist()), bits)
    if (palette == palette[:, :1]).all():  # a program may number the same greys in another order
        values = palette[values, 0]
        return _Mask(values.astype(np.int64), dict.fromkeys(np.unique(values).tolist()))
    return _Mask(values.astype(np.int64), {int(value): tuple(palette[value].tolist()) for value in found})


def _check_lossless(image: Image.Image, data: bytes) -> None:
    """Raise DataError if the file's compression changes values."""
    lossy = {
        "JPEG": True,
        "MPO": True,
        "TIFF": image.info.get("compression") in _LOSSY_TIFF,
        "WEBP": b"VP8 " in data[:_WEBP_HEADER],
        "JPEG2000": _is_irreversible(data),
    }
    if lossy.get(image.format or ""):
        raise DataError(f"a {image.format} with lossy compression, which changes values at edges: store PNGs")


def _is_irreversible(data: bytes) -> bool:
    """Return True if the COD marker of a JPEG 2000 codestream names the wavelet transform that rounds values."""
    start = data.find(b"\xff\x52")
    return data[start + 13 : start + 14] == b"\0"


def decode_mask(data: bytes | None, size: int, mask_format: MaskFormat) -> NDArray[np.uint8]:
    """Return the (size, size) classes of a mask that the survey found usable, resized by nearest neighbour."""
    return resized_classes(mask_classes(data, mask_format), size)


def mask_classes(data: bytes | None, mask_format: MaskFormat) -> NDArray[np.uint8]:
    """Return the (H, W) classes of a mask that the survey found usable, at its own size."""
    values = read_mask(data)
    classes = np.zeros(values.shape, dtype=np.uint8)
    for value, place in mask_format.classes.items():
        classes[values == value] = place
    return classes


def resized_classes(classes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return (H, W) classes at (size, size), resized by nearest neighbour."""
    return np.asarray(Image.fromarray(classes).resize((size, size), Image.Resampling.NEAREST))


def _wrong_size(values: NDArray[np.int64], image: bytes) -> str:
    try:
        with open_image(image) as opened:
            width, height = opened.size
            if opened.format != "TIFF" and opened.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:  # Pillow turns TIFF
                width, height = height, width
    except DataError:
        return ""  # unreadable images are reported elsewhere
    if values.shape == (height, width):
        return ""
    return f"its mask must have the image's size, {width} x {height}, but is {values.shape[1]} x {values.shape[0]}"


def _wrong_values(found: Sequence[int], mask_format: MaskFormat | None) -> str:
    unknown = [value for value in found if mask_format and value not in mask_format.classes]
    if mask_format is None or not unknown:
        return ""
    known = ", ".join(map(str, mask_format.classes))
    return f"its mask may only have the values {known}, but has {unknown[0]}"


def describe_format(mask_format: MaskFormat) -> str:
    """Return the values and their classes in words."""
    names = ("background", *mask_format.class_names)
    return ", ".join(f"{value} is {names[place]}" for value, place in mask_format.classes.items())
