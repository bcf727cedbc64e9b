import cv2
import numpy as np
import pytest

from trainables.core.data.readers.phantoms import make_phantoms
from trainables.core.data.splits.local_features import _MIRROR, _words, candidate_pairs, extract_features


@pytest.fixture(scope="module")
def images():
    phantoms = make_phantoms(subjects=60).images[::7]
    return np.stack([cv2.resize(image, (128, 128)) for image in phantoms])[..., None]


def test_features_equal_those_of_opencv_image_by_image(images):
    features = extract_features(images, np.array([0, 2]))
    assert features.starts[1] == features.starts[2]  # image 1 is not used
    for index in (0, 2):
        sift = cv2.SIFT_create(nfeatures=100, nOctaveLayers=3, contrastThreshold=0.02)
        keypoints, descriptors = sift.detectAndCompute(images[index, :, :, 0], None)
        points, found = features.of(index)
        np.testing.assert_array_equal(points, np.array([point.pt for point in keypoints])[:100])
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


def test_words_are_the_nearest_of_the_vocabulary_and_its_mirror_images(images):
    """The reference compares with all words at once, in float64."""
    features = extract_features(images, np.arange(len(images)))
    words, count = _words(features)
    chosen = np.sort(np.random.default_rng(0).permutation(len(features.points))[: count // 2])
    drawn = features.descriptors[chosen]
    vocabulary = np.concatenate([drawn, drawn[:, _MIRROR]]).astype(float)
    descriptors = features.descriptors.astype(float)
    roots = [np.sqrt(values / values.sum(axis=1, keepdims=True)) for values in (descriptors, vocabulary)]
    similarities = roots[0] @ roots[1].T
    np.testing.assert_allclose(similarities[np.arange(len(words)), words], similarities.max(axis=1), atol=1e-5)
    assert (words[chosen] < count // 2).mean() > 0.99  # each drawn descriptor is its own word
    assert (words >= count // 2).any()
