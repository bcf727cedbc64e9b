"""Local features of images, and pairs of images that share many of them.

Features are SIFT: they do not change if an image is rotated, scaled or cropped. Mirroring an image permutes the values
of a descriptor, so mirrored copies need no features of their own. Candidates are found as in text retrieval:
descriptors are quantised to words, and images that share rare words are similar (Sivic and Zisserman 2003). The words
are descriptors drawn from the images, together with their mirror images, so the mirrored word of a feature is known.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from trainables.core.data.decode.images import threads

_PER_IMAGE = 100  # most features of an image: 13 KB
_CONTRAST = 0.02  # half of OpenCV's default, since X-rays have little contrast
_MOST_WORDS = 16384
_FEATURES_PER_WORD = 8
_ROWS = 128  # images per block of similarities
_CHUNK = 2048  # features per block of similarities to words
_CELLS, _ORIENTATIONS = 4, 8  # layout of a descriptor: rows x columns x orientations
_LENGTH = _CELLS**2 * _ORIENTATIONS
_UPSIDE_DOWN = np.arange(_LENGTH).reshape(_CELLS, _CELLS, _ORIENTATIONS)[::-1]
_MIRROR = _UPSIDE_DOWN[:, :, -np.arange(_ORIENTATIONS) % _ORIENTATIONS].ravel()


@dataclass(frozen=True, eq=False)
class Features:
    """Local features of N images, one image after the other.

    Attributes:
        points: (F, 2) float32 positions in pixels.
        descriptors: (F, 128) uint8.
        starts: (N + 1,) int64. Features of image i are those from ``starts[i]`` to ``starts[i + 1]``.
        side: Width of the images in pixels.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    starts: NDArray[np.int64]
    side: int

    def of(self, image: int, mirrored: bool = False) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return positions and descriptors of one image, or of its mirror image."""
        rows = slice(self.starts[image], self.starts[image + 1])
        points, descriptors = self.points[rows], self.descriptors[rows]
        if not mirrored:
            return points, descriptors
        return np.stack([self.side - 1 - points[:, 0], points[:, 1]], axis=1), descriptors[:, _MIRROR]


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of the channels."""
    return np.asarray(image.mean(axis=2).round(), dtype=np.uint8)


def extract_features(
    images: NDArray[np.uint8], usable: NDArray[np.int64], progress: Callable[[float], None] | None = None
) -> Features:
    """Extract the strongest features of each image.

    Args:
        images: (N, side, side, channels) uint8.
        usable: Indices of the images to use. All others have no features.
        progress: Called with the share that is done.
    """
    starts = np.zeros(len(images) + 1, dtype=np.int64)
    points = np.empty((_PER_IMAGE * len(usable), 2), np.float32)
    descriptors = np.empty((_PER_IMAGE * len(usable), _LENGTH), np.uint8)  # concatenation would need twice the memory
    count = 0
    with ThreadPoolExecutor(threads()) as pool:
        found = pool.map(lambda index: _features(grey(images[index])), usable.tolist())
        for done, (index, (where, what)) in enumerate(zip(usable.tolist(), found, strict=True)):
            points[count : count + len(where)], descriptors[count : count + len(where)] = where, what
            starts[index + 1] = len(where)
            count += len(where)
            if progress is not None:
                progress((done + 1) / len(usable))
    return Features(points[:count], descriptors[:count], np.cumsum(starts), images.shape[1])


def candidate_pairs(features: Features, per_image: int) -> NDArray[np.int64]:
    """Return the pairs of images that share most rare words.

    Args:
        features: Features of N images.
        per_image: Number of partners that each image proposes.

    Returns:
        (P, 3): indices of the first and the second image, and 1 if the second one matches as its mirror image.
    """
    words, count = _words(features)
    plain, mirrored = _word_weights(features, words, count)
    found = [np.empty((0, 3), np.int64)]
    for rows, partners in _best_partners(plain, mirrored, per_image):
        first, place = np.repeat(rows, partners.shape[1]), partners.ravel()
        first, place = first[place >= 0], place[place >= 0]
        second = place % (len(features.starts) - 1)
        is_mirrored = place // (len(features.starts) - 1)
        found.append(np.stack([np.minimum(first, second), np.maximum(first, second), is_mirrored], axis=1))
    return np.asarray(np.unique(np.concatenate(found), axis=0), dtype=np.int64)


def _features(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    sift = cv2.SIFT.create(nfeatures=_PER_IMAGE, nOctaveLayers=3, contrastThreshold=_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(image, None)
    if descriptors is None:
        return np.empty((0, 2), np.float32), np.empty((0, _LENGTH), np.uint8)
    points = np.array([point.pt for point in keypoints], dtype=np.float32)
    return points[:_PER_IMAGE], descriptors[:_PER_IMAGE].astype(np.uint8)  # OpenCV adds those of equal strength


def _words(features: Features) -> tuple[NDArray[np.int64], int]:
    """Return (F,) words of the features, and the number of words. Word w and w + half of them are mirror images."""
    half = max(1, min(_MOST_WORDS, len(features.points) // _FEATURES_PER_WORD) // 2)
    drawn = features.descriptors[np.sort(np.random.default_rng(0).permutation(len(features.points))[:half])]
    even, odd = (part.T.contiguous() for part in _even_and_odd(drawn))
    words = [np.empty(0, np.int64)]
    for start in range(0, len(features.points), _CHUNK):
        chunk_even, chunk_odd = _even_and_odd(features.descriptors[start : start + _CHUNK])
        # The sum of both products is the similarity to a word, their difference that to its mirror image.
        kept, changed = chunk_even @ even, chunk_odd @ odd
        best = (kept + changed.abs()).argmax(1)
        is_mirrored = changed.gather(1, best[:, None])[:, 0] < 0
        words.append((best + len(drawn) * is_mirrored).numpy())
    return np.concatenate(words), 2 * len(drawn)


def _even_and_odd(descriptors: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two (F, 64) parts of unit vectors: one that mirroring keeps, and one whose sign it changes.

    The product of two vectors, the Bhattacharyya coefficient (RootSIFT), is the sum of the products of their parts.
    """
    values = torch.from_numpy(descriptors).float()
    values = (values / values.sum(1, keepdim=True).clamp_min(1)).sqrt() * 0.5**0.5
    first, mirrored = values[:, : _LENGTH // 2], values[:, _MIRROR[: _LENGTH // 2]]
    return first + mirrored, first - mirrored


def _word_weights(features: Features, words: NDArray[np.int64], count: int) -> tuple[csr_array, csr_array]:
    """Return (N, words) unit vectors of the images, and of their mirror images: the rarer a word, the higher."""
    size = len(features.starts) - 1
    image = np.repeat(np.arange(size), np.diff(features.starts))
    half = count // 2
    holds = csr_array((np.ones(len(words), np.float32), (image, words)), shape=(size, count))
    holds.data[:] = 1
    holders = np.bincount(holds.indices, minlength=count)
    holders = holders + np.roll(holders, half)
    weights = np.log((2 * size + 1) / (holders + 1)).astype(np.float32)[holds.indices]
    norms = np.sqrt(np.bincount(np.repeat(np.arange(size), np.diff(holds.indptr)), weights**2, size))
    holds.data[:] = weights / np.repeat(norms, np.diff(holds.indptr)).clip(1e-9)
    mirrored = csr_array((holds.data, (holds.indices + half) % max(count, 1), holds.indptr), shape=holds.shape)
    return holds, mirrored


def _best_partners(
    plain: csr_array, mirrored: csr_array, per_image: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of R images and (R, P) partners: i for image i, N + i for its mirror image, -1 for none."""
    size = plain.shape[0]
    both = (plain.T.tocsr(), mirrored.T.tocsr())
    kept = min(per_image, 2 * size)
    for top in range(0, size, _ROWS):
        rows = np.arange(top, min(top + _ROWS, size))
        shared = np.concatenate([(plain[rows] @ other).toarray() for other in both], axis=1)
        shared[rows - top, rows] = shared[rows - top, size + rows] = 0
        partners = np.argpartition(shared, -kept, axis=1)[:, -kept:]
        yield rows, np.where(np.take_along_axis(shared, partners, axis=1) > 0, partners, -1)
