"""Decoding of masks. One survey per data set finds which values they have."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
MASK_VERSION = 4
Colour = tuple[int, ...]
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


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

    def look(index: int) -> tuple[str, Mapping[int, Colour | None], int]:
        if index in source.unreadable:
            return source.unreadable[index], {}, 8
        try:
            mask = _read(masks.read_bytes(index))
            why = _wrong_size(mask.values, source.read(index)) or _wrong_values(list(mask.colours), masks.format)
            return why, mask.colours, mask.bits
        except DataError as error:
            return str(error), {}, 8

    with ThreadPoolExecutor(available_cpus()) as pool:
        looks = list(pool.map(look, range(len(source))))
    bad = {index: why for index, (why, *_) in enumerate(looks) if why}
    if len(bad) == len(source):
        raise DataError(f"no image has a usable mask; the first one, {source.names[0]}: {bad[0]}")
    _check_palettes([colours for why, colours, _ in looks if not why])
    _check_bits([(max(colours), bits) for why, colours, bits in looks if not why])
    found = sorted({value for why, colours, _ in looks if not why for value in colours})
    return MaskSurvey(masks.format or MaskFormat.of_values(found), bad)


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


def read_mask(data: bytes) -> NDArray[np.int64]:
    """Return the (H, W) values of a mask file as an image viewer turns it: grey values, or indices of a palette.

    Raises:
        DataError: The mask is missing, unreadable or in colour.
    """
    return _read(data).values


def _read(data: bytes) -> _Mask:
    if not data:
        raise DataError("has no mask")
    if is_dicom(data):
        raise DataError("its mask is a DICOM file, whose values a viewer scales: store PNGs")
    palette = np.zeros((0, 3), dtype=np.int64)
    try:
        with open_image(data) as image:
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


def decode_mask(data: bytes, size: int, mask_format: MaskFormat) -> NDArray[np.uint8]:
    """Return the (size, size) classes of a mask that the survey found usable, resized by nearest neighbour."""
    return resized_classes(mask_classes(data, mask_format), size)


def mask_classes(data: bytes, mask_format: MaskFormat) -> NDArray[np.uint8]:
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
            if opened.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
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
