"""Kind of the images that a model was trained on, and the ways in which an image can be of another kind.

Every image is described by a few features at 64 pixels a side. An image is unlike the training images if a feature lies
far outside their range, if its coarse structure is far from their principal components, if it is upside down, or if its
negative fits them much better than itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainables.core.data.decode.images import SIDE
from trainables.core.data.upright import Upright, upright_of, upside_down

Features = NDArray[np.float64]
NEARLY_BLANK = 2.0  # standard deviation in grey levels, below which an image shows nothing
_COARSE = 8  # side of the coarse picture
_COMPONENTS, _IMAGES_PER_COMPONENT = 8, 10
_BATCH = 512
_BRIGHTNESS, _CONTRAST, _BALANCE, _COLOUR = 0, 1, 2, 3
_WORDS = {
    _BRIGHTNESS: ("darker", "brighter"),
    _CONTRAST: ("lower in contrast", "higher in contrast"),
    _BALANCE: ("richer in bright areas", "richer in dark areas"),
    _COLOUR: ("less colourful", "more colourful"),
    _COLOUR + 1: ("less red", "redder"),
    _COLOUR + 2: ("less blue", "bluer"),
}
# A feature may exceed the central 98% of the training images by half their spread, and by this much for nearly equal
# images. Brightness and hues are in grey levels, contrast and colour are 40 times a logarithm, and balance is 20 times
# the skewness.
_SLACK, _LEAST_SLACK = 0.5, 2.0
_RESIDUAL_SLACK = 1.25
_SIZE_SLACK, _SHAPE_SLACK = 2.0, 1.5
# Squared distances in robust standard deviations, each of at most 6: an inverted image is itself unusual, and its
# negative is at most half as far from the training images.
_MOST_DEVIATION, _UNUSUAL, _NEGATIVE_SHARE = 6.0, 9.0, 0.5


@dataclass(frozen=True)
class ImageKind:
    """Statistics of training images.

    Attributes:
        lows: Least value of each feature without a warning.
        highs: Largest value of each feature without a warning.
        centres: Medians of brightness, balance and agreement with ``picture``.
        spreads: Robust standard deviations of these.
        picture: (64,) median coarse picture, of mean 0 and norm 1.
        components: (K + 1, 64) mean coarse picture and its principal components; empty with too few images.
        residual: Largest distance of a coarse picture from the components without a warning.
        sides: Shortest and longest side of all images, in pixels.
        elongation: Largest ratio of an image's sides.
        sees_blank: True if training images are nearly blank.
        highlights: Least brightness of the brightest parts without a warning.
        upright: Discriminant of images that are upside down.
    """

    lows: tuple[float, ...]
    highs: tuple[float, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    picture: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    residual: float
    sides: tuple[int, int]
    elongation: float
    sees_blank: bool = False
    highlights: float = 0.0
    upright: Upright = field(default_factory=Upright)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "upright": self.upright.to_dict()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from the result of ``to_dict``, also after JSON."""
        lists = ("lows", "highs", "centres", "spreads", "picture")
        components = tuple(tuple(map(float, row)) for row in raw["components"])
        shortest, longest = raw["sides"]
        plain = {name: tuple(map(float, raw[name])) for name in lists}
        upright = Upright.from_dict(raw["upright"]) if "upright" in raw else Upright()
        sides = (int(shortest), int(longest))
        return cls(**{**raw, **plain, "components": components, "sides": sides, "upright": upright})

    def warnings(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[str]:
        """Return the ways in which images differ from the training images, in words; "" for an image like them.

        Args:
            pixels: (n, SIDE, SIDE, channels) uint8.
            sizes: Height and width of each image before it was resized.
        """
        features, coarse = describe_images(pixels, np.arange(len(pixels)))
        inverted = self.inverted(features, coarse)
        structure = self._structure(coarse)
        dark = _highlights(pixels) < self.highlights
        return [
            "; ".join(self._reasons(features[row], bool(inverted[row]), bool(dark[row]), structure[row], sizes[row]))
            for row in range(len(pixels))
        ]

    def _reasons(
        self, features: Features, inverted: bool, dark: bool, structure: str, size: tuple[int, int]
    ) -> list[str]:
        blank = np.exp(features[_CONTRAST] / 40) < NEARLY_BLANK and not self.sees_blank
        reasons = []
        if blank:
            reasons.append("nearly blank")
        elif inverted:
            reasons.append("looks inverted: its negative is like the training images")
        else:
            outside = zip(features, self.lows, self.highs, strict=True)
            sides = [(bool(value > high), not low <= value <= high) for value, low, high in outside]
            reasons += [_WORDS[index][high] for index, (high, is_outside) in enumerate(sides) if is_outside]
            darker = _WORDS[_BRIGHTNESS][0]
            reasons += [f"{darker} in its brightest parts"] if dark and darker not in reasons else []
            reasons += [structure] if structure else []
        shortest, longest = min(size), max(size)
        if shortest * _SIZE_SLACK < self.sides[0] or longest > self.sides[1] * _SIZE_SLACK:
            reasons.append(f"{size[1]} x {size[0]} pixels instead of {self.sides[0]} to {self.sides[1]} a side")
        elif longest / max(1, shortest) > self.elongation * _SHAPE_SLACK:
            reasons.append(f"{size[1]} x {size[0]} pixels, more elongated")
        return reasons

    def inverted(self, features: Features, coarse: Features) -> NDArray[np.bool_]:
        """Return True for each image whose negative fits the training images much better than itself."""
        own = self._distances(features[:, _BRIGHTNESS], features[:, _BALANCE], coarse)
        negative = self._distances(255 - features[:, _BRIGHTNESS], -features[:, _BALANCE], -coarse)
        found: NDArray[np.bool_] = (own > _UNUSUAL) & (negative < _NEGATIVE_SHARE * own)
        return found

    def _distances(self, brightness: Features, balance: Features, coarse: Features) -> Features:
        values = np.stack([brightness, balance, _agreement(coarse, np.array(self.picture))], axis=1)
        deviations = np.abs(values - np.array(self.centres)) / np.array(self.spreads)
        distances: Features = (np.minimum(deviations, _MOST_DEVIATION) ** 2).sum(axis=1)
        return distances

    def _structure(self, coarse: Features) -> list[str]:
        """Return how the structure of each image differs from that of the training images; "" if it does not."""
        if not self.components:
            return [""] * len(coarse)
        components = np.array(self.components)
        residuals = _residuals(coarse, components)
        turned = np.minimum(*(_residuals(other, components) for other in upside_down(coarse)))
        is_turned = self.upright.is_upside_down(coarse) & (turned <= self.residual)
        far = residuals > self.residual
        return [
            "looks upside down" if turned_one else "shows something else" if far_one else ""
            for turned_one, far_one in zip(is_turned, far, strict=True)
        ]


def kind_of(
    pixels: NDArray[np.uint8], rows: NDArray[np.int64], groups: NDArray[np.int64], sizes: NDArray[np.int64]
) -> ImageKind:
    """Return the kind of n of N images.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        rows: (n,) indices of the images.
        groups: (n,) numbers of groups. The components are found on half of the groups and tested on the others.
        sizes: (n, 2) heights and widths before the images were resized.
    """
    features, coarse = describe_images(pixels, rows)
    low, high = np.quantile(features, [0.01, 0.99], axis=0)
    slack = _SLACK * (high - low) + _LEAST_SLACK
    picture = np.median(coarse, axis=0)
    picture = (picture - picture.mean()) / max(float(np.linalg.norm(picture - picture.mean())), 1e-9)
    values = np.stack([features[:, _BRIGHTNESS], features[:, _BALANCE], _agreement(coarse, picture)], axis=1)
    centres = np.median(values, axis=0)
    spreads = np.maximum(1.4826 * np.median(np.abs(values - centres), axis=0), 1)
    components, residual = _components(coarse, groups)
    shortest, longest = sizes.min(axis=1), sizes.max(axis=1)
    return ImageKind(
        lows=_rounded(low - slack),
        highs=_rounded(high + slack),
        centres=_rounded(centres),
        spreads=_rounded(spreads),
        picture=_rounded(picture),
        components=tuple(map(_rounded, components)),
        residual=round(residual, 4),
        sides=(int(shortest.min()), int(longest.max())),
        elongation=float((longest / np.maximum(1, shortest)).max()),
        highlights=_lowest_highlight(pixels, rows),
        upright=upright_of(coarse, groups),
        sees_blank=bool((np.exp(features[:, _CONTRAST] / 40) < NEARLY_BLANK).any()),
    )


def _lowest_highlight(pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> float:
    starts = range(0, len(rows), _BATCH)
    found = np.concatenate([_highlights(pixels[rows[start : start + _BATCH]]) for start in starts])
    low, high = np.quantile(found, [0.01, 0.99])
    return round(float(low - _SLACK * (high - low) - _LEAST_SLACK), 4)


def _highlights(pixels: NDArray[np.uint8]) -> Features:
    """Return the (n,) brightness of the brightest percent of each image."""
    return np.asarray(np.percentile(pixels.mean(axis=3).reshape(len(pixels), -1), 99, axis=1))


def _rounded(values: Features) -> tuple[float, ...]:
    return tuple(values.round(4).tolist())


def describe_images(pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[Features, Features]:
    """Return (n, F) features of n of N images, and their (n, 64) coarse pictures of mean 0 and standard deviation 1.

    Args:
        pixels: (N, SIDE, SIDE, channels) uint8.
        rows: (n,) indices of the images.
    """
    parts = [_describe(pixels[rows[start : start + _BATCH]]) for start in range(0, max(1, len(rows)), _BATCH)]
    return np.concatenate([part for part, _ in parts]), np.concatenate([part for _, part in parts])


def _describe(batch: NDArray[np.uint8]) -> tuple[Features, Features]:
    images = batch.astype(np.float64)
    grey = images.mean(axis=3)
    flat = grey.reshape(len(grey), SIDE * SIDE)
    mean, deviation = flat.mean(axis=1), np.maximum(flat.std(axis=1), 0.5)
    scaled = (flat - mean[:, None]) / deviation[:, None]
    skewness = (scaled * scaled * scaled).mean(axis=1)  # much faster than a power of 3
    columns = [mean, 40 * np.log(deviation), 20 * skewness]
    if images.shape[3] == 3:
        red, green, blue = (images[..., channel].mean(axis=(1, 2)) for channel in range(3))
        columns += [40 * np.log1p(np.ptp(images, axis=3).mean(axis=(1, 2))), red - green, blue - green]
    block = SIDE // _COARSE
    coarse = grey.reshape(len(grey), _COARSE, block, _COARSE, block).mean(axis=(2, 4)).reshape(len(grey), _COARSE**2)
    coarse = coarse - coarse.mean(axis=1, keepdims=True)
    return np.stack(columns, axis=1), coarse / np.maximum(coarse.std(axis=1, keepdims=True), 1)


def _agreement(coarse: Features, picture: Features) -> Features:
    """Return 100 times the correlation of coarse pictures with one of mean 0 and norm 1."""
    agreement: Features = 100 * (coarse @ picture) / _COARSE
    return agreement


def _components(coarse: Features, groups: NDArray[np.int64]) -> tuple[Features, float]:
    """Return the mean and principal components of half of the groups, and the largest usual distance of the others."""
    first_half = np.unique(groups, return_inverse=True)[1] % 2 == 0
    count = min(_COMPONENTS, int(first_half.sum()) // _IMAGES_PER_COMPONENT)
    if count == 0 or first_half.all():
        return np.zeros((0, _COARSE**2)), 0.0
    mean = coarse[first_half].mean(axis=0)
    principal = np.linalg.svd(coarse[first_half] - mean, full_matrices=False)[2][:count]
    components = np.concatenate([mean[None], principal])
    return components, float(_RESIDUAL_SLACK * np.quantile(_residuals(coarse[~first_half], components), 0.99))


def _residuals(coarse: Features, components: Features) -> Features:
    centred, principal = coarse - components[0], components[1:]
    residuals: Features = np.sqrt(((centred - (centred @ principal.T) @ principal) ** 2).mean(axis=1))
    return residuals
