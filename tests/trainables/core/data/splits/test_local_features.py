import cv2
import numpy as np
import pytest

from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits.local_features import (
    _MIRROR,
    _mirrored,
    _word_weights,
    _words,
    candidate_pairs,
    extract_features,
)


@pytest.fixture(scope="module")
def images():
    phantoms = make_phantoms(subjects=60).images[::7]
    return np.stack([cv2.resize(image, (128, 128)) for image in phantoms])[..., None]


def test_features_equal_those_of_opencv_image_by_image(images):
    features = extract_features(images, np.array([0, 2]))
    assert features.starts[1] == features.starts[2]  # image 1 is not used
    for index in (0, 2):
        sift = cv2.SIFT_create(nfeatures=100, nOctaveLayers=3, contrastThreshold=0.02)
        smaller = cv2.resize(images[index, :, :, 0], (80, 80), interpolation=cv2.INTER_AREA)
        keypoints, descriptors = sift.detectAndCompute(smaller, None)
        points, found = features.of(index)
        expected = np.array([point.pt for point in keypoints])[:100] * 1.6 + 0.3
        np.testing.assert_allclose(points, expected, atol=1e-4)
        np.testing.assert_array_equal(found, descriptors[:100])


def test_mirrored_features_are_those_of_the_mirrored_image(images):
    image = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    image = cv2.GaussianBlur(cv2.resize(image, (128, 128)), (0, 0), 2)
    both = np.stack([image, image[:, ::-1]])[..., None]
    features = extract_features(both, np.arange(2))
    expected_points, expected = features.of(1)
    shares = []
    for mirrored in (True, False):
        points, descriptors = features.of(0, mirrored)
        distances = np.linalg.norm(descriptors[:, None].astype(float) - expected[None], axis=2)
        agree = distances.min(1) < 50  # of about 512
        shares.append(agree.mean())
        if mirrored:
            assert np.median(np.abs(points[agree] - expected_points[distances.argmin(1)[agree]])) < 1  # pixel
    assert shares[0] > 0.5 and shares[1] < 0.05  # OpenCV enlarges images first, which is not quite symmetric


def test_candidates_are_pairs_of_different_images_that_share_features(images):
    copies = np.concatenate([images, images[:4, :, ::-1]])
    features = extract_features(copies, np.arange(len(copies)))
    candidates = candidate_pairs(features, 5)
    assert (candidates[:, 0] < candidates[:, 1]).all()
    assert len(candidates) <= 5 * len(copies)
    assert len(np.unique(candidates, axis=0)) == len(candidates)
    found = {tuple(row) for row in candidates.tolist()}
    assert {(index, len(images) + index, 1) for index in range(4)} <= found
    assert len(candidate_pairs(extract_features(copies, np.array([3])), 5)) == 0


def test_words_are_the_nearest_kinds_of_both_halves_and_mirrored_words_those_of_the_mirror_image(images):
    """The reference is a search in float64 for each half of the descriptor and of its mirror image."""
    features = extract_features(images, np.arange(len(images)))
    words, kinds = _words(features)
    drawn = np.sort(np.random.default_rng(0).choice(len(features.points), kinds, replace=False))

    def upper_half(descriptors):
        values = descriptors.astype(float)
        return np.sqrt(values / values.sum(axis=1, keepdims=True))[:, :64]

    book = upper_half(features.descriptors[drawn])
    book /= np.linalg.norm(book, axis=1, keepdims=True)
    halves = [upper_half(features.descriptors), upper_half(features.descriptors[:, _MIRROR])]
    (upper, second_upper), (lower, second_lower) = (np.argsort(-half @ book.T, axis=1)[:, :2].T for half in halves)
    expected = [upper * kinds + lower, second_upper * kinds + lower, upper * kinds + second_lower]
    assert (words == np.stack(expected, axis=1)).mean() > 0.999  # but for ties in float32
    assert (upper[drawn] == np.arange(kinds)).mean() > 0.95  # each half that was drawn is its own kind
    plain = _word_weights(features, words, kinds)
    swapped = np.stack([lower * kinds + upper, lower * kinds + second_upper, second_lower * kinds + upper], axis=1)
    of_mirror_images = _word_weights(features, swapped.astype(np.int32), kinds)
    np.testing.assert_allclose(_mirrored(plain, kinds).toarray(), of_mirror_images.toarray(), atol=1e-6)
