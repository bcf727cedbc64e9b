"""Local features of images, and pairs of images that share many of them.

Features are SIFT: they do not change if an image is rotated, scaled or cropped. Mirroring an image permutes the values
of a descriptor, so mirrored copies need no features of their own. Candidates are found as in text retrieval:
descriptors are quantised to words, and images that share rare words are similar (Sivic and Zisserman 2003). A word
names the kinds of a descriptor's upper and lower half (a product quantiser, Jegou et al. 2011). Mirroring about the
horizontal axis swaps the halves, so the mirrored word of a feature is known.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from trainables.core.cpus import available_cpus

if TYPE_CHECKING:
    import torch

_PER_IMAGE = 100  # most features of an image: 13 KB
_SIDE = 80  # of the image in which they are sought, in pixels: SIFT doubles it, and takes half as long as at 128
_CONTRAST = 0.02  # half of OpenCV's default, since X-rays have little contrast
_HALVES = 384  # kinds of the halves of a descriptor
_ROWS = 32  # images per block of similarities
_CHUNK = 8192  # features whose words are looked up together
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
    channels = image.shape[2]
    return image[:, :, 0] if channels == 1 else cv2.transform(image, np.full((1, channels), 1 / channels))


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
    with ThreadPoolExecutor(available_cpus()) as pool:
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
    words, kinds = _words(features)
    holds = _word_weights(features, words, kinds)
    found = [np.empty((0, 3), np.int64)]
    for rows, partners in _best_partners(holds, kinds, per_image):
        first, place = np.repeat(rows, partners.shape[1]), partners.ravel()
        first, place = first[place >= 0], place[place >= 0]
        second = place % (len(features.starts) - 1)
        is_mirrored = place // (len(features.starts) - 1)
        found.append(np.stack([np.minimum(first, second), np.maximum(first, second), is_mirrored], axis=1))
    return np.asarray(np.unique(np.concatenate(found), axis=0), dtype=np.int64)


def _features(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    sift = cv2.SIFT.create(nfeatures=_PER_IMAGE, nOctaveLayers=3, contrastThreshold=_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(
        cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), None
    )
    if descriptors is None:
        return np.empty((0, 2), np.float32), np.empty((0, _LENGTH), np.uint8)
    keypoints = keypoints[:_PER_IMAGE]  # OpenCV adds those of equal strength
    points = np.array([point.pt for point in keypoints], dtype=np.float32)
    points = (points + 0.5) * np.float32(len(image) / _SIDE) - 0.5  # pixel centres lie at x + 0.5
    return points, descriptors[:_PER_IMAGE].astype(np.uint8)


def _words(features: Features) -> tuple[NDArray[np.int32], int]:
    """Return (F, 3) words of the features, and the number K of kinds of halves.

    A word is K times the kind of the upper half plus that of the lower half. Each feature also has the two words with
    the second nearest kind of one half, so that a small change does not change all of its words.
    """
    import torch  # takes seconds, and data are described before it is needed

    count = len(features.points)
    kinds = min(_HALVES, count)
    drawn = np.sort(np.random.default_rng(0).choice(count, kinds, replace=False))
    book = torch.nn.functional.normalize(_halves(features.descriptors[drawn])[0], dim=1).T.contiguous()
    words = np.empty((count, 3), np.int32)
    for start in range(0, count, _CHUNK):
        halves = _halves(features.descriptors[start : start + _CHUNK])
        (upper, upper_2), (lower, lower_2) = (
            (half @ book).topk(min(2, kinds), dim=1).indices.T[[0, -1]] for half in halves
        )
        words[start : start + _CHUNK] = torch.stack(
            [upper * kinds + lower, upper_2 * kinds + lower, upper * kinds + lower_2], dim=1
        ).numpy()
    return words, kinds


def _halves(descriptors: NDArray[np.uint8]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return two (F, 64) halves of unit vectors, the lower one mirrored, so that both lie in one space.

    The product of two vectors is the Bhattacharyya coefficient (RootSIFT).
    """
    import torch

    values = torch.from_numpy(descriptors).float()
    values = (values / values.sum(1, keepdim=True).clamp_min(1)).sqrt()
    return values[:, : _LENGTH // 2], values[:, _MIRROR[: _LENGTH // 2]]


def _word_weights(features: Features, words: NDArray[np.int32], kinds: int) -> csr_array:
    """Return (N, words) unit vectors of the images: the rarer a word, the higher."""
    size = len(features.starts) - 1
    starts = words.shape[1] * features.starts
    holds = csr_array((np.ones(words.size, np.float32), words.ravel(), starts), shape=(size, kinds**2))
    holds.sum_duplicates()
    holders = np.bincount(holds.indices, minlength=kinds**2).reshape(kinds, kinds)
    holds.data = np.log((2 * size + 1) / (holders + holders.T + 1)).astype(np.float32).ravel()[holds.indices]
    counts = np.diff(holds.indptr)
    norms = np.ones(size, np.float32)
    norms[counts > 0] = np.sqrt(np.add.reduceat(holds.data**2, holds.indptr[:-1][counts > 0], dtype=np.float64))
    holds.data /= np.repeat(norms, counts).clip(1e-9)
    return holds


def _mirrored(holds: csr_array, kinds: int) -> csr_array:
    """Return the vectors of the mirror images."""
    words = holds.indices % kinds * kinds + holds.indices // kinds
    return csr_array((holds.data, words, holds.indptr), shape=holds.shape)


def _best_partners(
    holds: csr_array, kinds: int, per_image: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of R images and (R, P) partners: i for image i, N + i for its mirror image, -1 for none."""
    size = holds.shape[0]
    by_word = holds.T.tocsr()
    kept = min(per_image, 2 * size)
    for top in range(0, size, _ROWS):
        rows = np.arange(top, min(top + _ROWS, size))
        block = holds[rows]
        shared = np.concatenate([(images @ by_word).toarray() for images in (block, _mirrored(block, kinds))], axis=1)
        shared[rows - top, rows] = shared[rows - top, size + rows] = 0
        partners = np.argpartition(shared, -kept, axis=1)[:, -kept:]
        yield rows, np.where(np.take_along_axis(shared, partners, axis=1) > 0, partners, -1)
