"""Copies of images that were rotated, mirrored, zoomed, cropped or stretched.

The whole-image similarity of ``similarity.py`` misses a copy that shows only a part. Here, images that share local
features are registered to each other: RANSAC gives a first transform, and the correlation of the overlap is then
maximised over all affine transforms (ECC, Evangelidis and Psarakis 2008). A pair is a copy if the finest details of
the overlap agree. Anatomy alone does not achieve that: two patients share organs, but not texture.

Measured at 128 pixels, as the median correlation of details in small windows: 95% of 293 pairs of augmented LC25000
tissue images reach 0.9, and so do 95% of chest X-rays after a rotation, zoom by up to 1.6, shift, mirroring and JPEG at
quality 60. The most similar X-rays of different patients have 0.66 or less (3,000 pairs), tissue images 0.11.
"""

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trainables.core.cpus import available_cpus
from trainables.core.data.splits.local_features import Features, candidate_pairs, extract_features, grey
from trainables.core.data.splits.pairs import Pair

COPIES_VERSION = 1  # part of the cache key; raise it whenever other pairs of the same images would be found
DETAIL_SIDE = 128  # of the compared images, in pixels
SAME = 0.9  # smallest similarity of a copy
_CANDIDATES = 4  # partners per image
_CHUNK = 64  # pairs per task
_MATCHES, _RATIO, _TOLERANCE = 6, 0.85, 3.0  # consistent matches, Lowe's ratio, pixels
_STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 1e-3)  # of the registration
_ZOOM = 3.0  # largest enlargement
_SMOOTHED = 2.0  # standard deviation of the Gaussian before registration, pixels
_BAND, _WINDOW = (0.7, 2.0), 3.0  # standard deviations of the compared band and of the windows, pixels
_TEXTURE, _NOISE = 1.0, 0.25  # variances in grey levels: windows that count, and what damps the correlation of noise
_OVERLAP = 0.2  # smallest share of the smaller image; neighbouring fields of view may share less
_LEAST_TEXTURE = 0.02  # share of the image that must have texture


def find_copies(
    images: NDArray[np.uint8], usable: NDArray[np.int64], progress: Callable[[float], None] | None = None
) -> tuple[Pair, ...]:
    """Find pairs of copies.

    Args:
        images: (N, DETAIL_SIDE, DETAIL_SIDE, channels) uint8.
        usable: Indices of the images to compare.
        progress: Called with the share that is done.
    """

    def report(share: float) -> None:
        if progress is not None:
            progress(share)

    features = extract_features(images, usable, lambda share: report(share / 3))
    pairs = candidate_pairs(features, _CANDIDATES)
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    copies: list[Pair] = []
    # The matrices are small. With several BLAS threads for each thread of the pool, most would wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(available_cpus()) as pool:
        for done, found in enumerate(pool.map(partial(_copies, images, features), chunks)):
            copies += found
            report((1 + 2 * (done + 1) / len(chunks)) / 3)
    return tuple(copies)


@dataclass(frozen=True, eq=False)
class _Views:
    """An image as registration and comparison need it.

    Attributes:
        whole: (side, side) float32 grey levels.
        smoothed: Smoothed (side / 2, side / 2) float32. A smoothed image loses nothing at half the size, and takes a
            quarter of the time.
    """

    whole: NDArray[np.float32]
    smoothed: NDArray[np.float32]

    @functools.cached_property
    def details(self) -> NDArray[np.float32]:
        """(side, side) float32 band of the finest details."""
        return _details(self.whole)

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> Self:
        """Return the views of a (side, side, channels) image."""
        whole = grey(image).astype(np.float32)
        half = (whole.shape[1] // 2, whole.shape[0] // 2)
        smoothed = cv2.resize(cv2.GaussianBlur(whole, (0, 0), _SMOOTHED), half, interpolation=cv2.INTER_AREA)
        return cls(whole, np.asarray(smoothed))

    def mirrored(self) -> "_Views":
        """Return the views of the mirror image."""
        return _Views(*(np.ascontiguousarray(view[:, ::-1]) for view in (self.whole, self.smoothed)))


def _copies(images: NDArray[np.uint8], features: Features, candidates: NDArray[np.int64]) -> list[Pair]:
    """Return those of the candidates that are copies."""
    views = functools.cache(lambda index: _Views.of(images[index]))
    pairs = (_copy(views, features, first, second, bool(mirrored)) for first, second, mirrored in candidates.tolist())
    return [pair for pair in pairs if pair is not None]


def _copy(views: Callable[[int], _Views], features: Features, first: int, second: int, mirrored: bool) -> Pair | None:
    """Return the pair with its alignment if it is a copy, else None."""
    transform = _matched(features.of(first), features.of(second, mirrored))
    if transform is None:
        return None
    one, other = views(first), views(second).mirrored() if mirrored else views(second)
    transform = _registered(one.smoothed, other.smoothed, transform)
    similarity = 0.0 if transform is None else _detail_similarity(one.details, other.whole, transform)
    if transform is None or similarity < SAME:
        return None
    (a, b), (c, d) = transform[:, :2]
    turned = float(np.degrees(np.arctan2(b - c, a + d)))
    # Mirroring about the vertical axis, as here, is mirroring about the horizontal axis and half a turn.
    degrees = 180 + turned if mirrored else turned
    return Pair(first, second, similarity, (degrees + 180) % 360 - 180, mirrored, float(np.sqrt(a * d - b * c)))


def _matched(
    first: tuple[NDArray[np.float32], NDArray[np.uint8]], second: tuple[NDArray[np.float32], NDArray[np.uint8]]
) -> NDArray[np.float32] | None:
    """Return the (2, 3) similarity transform from the first image to the second that most matches agree with."""
    if min(len(first[0]), len(second[0])) < _MATCHES:
        return None
    ours, theirs = first[1].astype(np.float32), second[1].astype(np.float32)
    distances = (ours**2).sum(axis=1) - 2 * theirs @ ours.T + (theirs**2).sum(axis=1, keepdims=True)
    nearest, following = np.partition(distances, 1, axis=1)[:, :2].T
    clear = np.flatnonzero(nearest < _RATIO**2 * following)
    if len(clear) < _MATCHES:
        return None
    start, end = first[0][distances[clear].argmin(axis=1)], second[0][clear]
    transform, agree = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=_TOLERANCE, maxIters=500)
    return None if transform is None or agree.sum() < _MATCHES else transform.astype(np.float32)


def _registered(
    first: NDArray[np.float32], second: NDArray[np.float32], transform: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return the affine transform that maximises the correlation of the overlap; None if there is no plausible one.

    The images are smoothed and of half the size. Transforms are those of the whole images.
    """
    start = transform.copy()
    start[:, 2] = (start[:, 2] + start[:, :2].sum(1) / 2 - 0.5) / 2  # pixel centres lie at x + 0.5
    try:
        _, found = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, _STOP, None, 3)
    except cv2.error:  # it did not converge: the images are not alike
        return None
    found[:, 2] = 2 * found[:, 2] + 0.5 - found[:, :2].sum(1) / 2
    (a, b), (c, d) = found[:, :2].tolist()
    turned, skewed = math.hypot(a + d, b - c), math.hypot(a - d, b + c)  # their sum and difference: singular values x 2
    plausible = turned + skewed < 2 * _ZOOM and turned - skewed > 2 / _ZOOM
    return np.asarray(found, dtype=np.float32) if plausible else None


def _detail_similarity(
    details: NDArray[np.float32], other: NDArray[np.float32], transform: NDArray[np.float32]
) -> float:
    """Return the median correlation of small windows of the overlap.

    Windows without texture do not count. The median is robust to text and frames that a device draws into all images.

    Args:
        details: (side, side) details of the first image.
        other: (side, side) second image.
        transform: (2, 3) transform from the first image to the second.
    """
    inside = _moved(np.ones_like(other, dtype=np.uint8), transform, cv2.INTER_NEAREST)
    smaller = min(1.0, 1 / float(np.linalg.det(transform[:, :2])))  # the second image, as a share of the first
    if inside.mean() < _OVERLAP * smaller:
        return 0.0
    inside = cv2.erode(inside, np.ones((7, 7), np.uint8))[::2, ::2] > 0  # the band reaches beyond the overlap
    moved = _details(_moved(other, transform, cv2.INTER_LINEAR))
    covariance, *variances = map(_windowed, (details * moved, details**2, moved**2))
    textured = inside & (np.maximum(*variances) > _TEXTURE)
    if textured.sum() < _LEAST_TEXTURE * textured.size:
        return 0.0
    correlation = covariance / np.sqrt((variances[0] + _NOISE) * (variances[1] + _NOISE))
    return float(np.median(correlation[textured]))


def _moved(image: NDArray[Any], transform: NDArray[np.float32], interpolation: int) -> NDArray[Any]:
    side = len(image)
    return np.asarray(cv2.warpAffine(image, transform, (side, side), flags=interpolation | cv2.WARP_INVERSE_MAP))


def _details(image: NDArray[np.float32]) -> NDArray[np.float32]:
    narrow, wide = (cv2.GaussianBlur(image, (0, 0), sigma) for sigma in _BAND)
    return np.asarray(narrow - wide)


def _windowed(product: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over a Gaussian window around every second pixel."""
    half = cv2.resize(product, (product.shape[1] // 2, product.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(half, (0, 0), _WINDOW / 2))
