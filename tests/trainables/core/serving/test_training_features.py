import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from trainables.core.serving.training_features import TrainingFeatures, joined

RNG = np.random.default_rng(0)


def features(count, width=6, scale=1.0):
    return (RNG.normal(size=(count, width)) * scale).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fifth(training, rows):
    """Distances to the fifth neighbour by scikit-learn."""
    return NearestNeighbors(n_neighbors=5).fit(training).kneighbors(rows)[0][:, 4]


def ratios(training, held_out, new):
    """The larger distance of new images, among unit vectors or not, in multiples of that of the held-out images."""
    pairs = [(unit(training), unit(held_out), unit(new)), (training, held_out, new)]
    usual = [fifth(known, others).max() for known, others, _ in pairs]
    return np.max([fifth(known, rows) / limit for (known, _, rows), limit in zip(pairs, usual, strict=True)], axis=0)


def test_a_score_is_the_larger_distance_to_the_fifth_neighbour_over_its_limit():
    training, held_out, new = features(50), features(30), features(7, scale=2)
    known = TrainingFeatures.of([training], [held_out], np.arange(30))
    expected = ratios(training, held_out, new) / ratios(training, held_out, held_out).max()
    np.testing.assert_allclose(known.scores([new]), expected, rtol=1e-2)  # stored in half precision
    assert known.scores([held_out]).max() == pytest.approx(1)


@pytest.mark.parametrize("changed", [lambda rows: 8 * rows, lambda rows: rows[:, ::-1].copy()])
def test_features_of_another_length_or_direction_are_far(changed):
    """Either kind of distance finds only one of the two."""
    usual = (RNG.normal(size=(90, 4)) * 0.1 + [5, 1, 0, 0]).astype(np.float32)
    known = TrainingFeatures.of([usual[:60]], [usual[60:]], np.arange(30))
    assert (known.scores([changed(usual[60:])]) > 2).all()


def test_each_group_has_the_same_weight_in_the_limit():
    """200 groups, half of 1 and half of 4 images: the limit is that of images repeated to equal numbers."""
    groups = np.concatenate([np.arange(100), np.repeat(np.arange(100, 200), 4)])
    training, held_out = features(40, 3), features(len(groups), 3)
    scores = TrainingFeatures.of([training], [held_out], groups).scores([held_out])
    repeated = np.repeat(scores, 4 // np.bincount(groups)[groups])
    assert np.quantile(repeated, 0.99, method="inverted_cdf") == pytest.approx(1, rel=1e-6)


def test_all_members_have_equal_shares_in_a_distance():
    members = [features(2, width, scale) for width, scale in ((3, 100), (9, 0.01))]
    one, other = joined(members)
    squares = [np.sum(np.diff(joined([member]), axis=0) ** 2) for member in members]
    assert np.sum((one - other) ** 2) == pytest.approx(np.mean(squares), rel=1e-4)
    training, held_out, new = ([features(count, 3, scale) for scale in (1, 1)] for count in (40, 20, 5))
    scaled = [[part[0] * 1000, part[1]] for part in (training, held_out, new)]
    alike = TrainingFeatures.of(training, held_out, np.arange(20)).scores(new)
    np.testing.assert_allclose(TrainingFeatures.of(*scaled[:2], np.arange(20)).scores(scaled[2]), alike, rtol=1e-3)


def test_equal_features_are_not_far_from_each_other():
    """A network may give all images the same features, and rounding must not make one of them unlike the others."""
    for same in (np.tile(features(1, 500), (20, 1)), np.zeros((20, 4), np.float32)):
        assert (TrainingFeatures.of([same], [same], np.arange(20)).scores([same]) <= 1).all()


@pytest.mark.parametrize("independent", [None, np.arange(20) % 2 == 0])
def test_a_file_restores_the_scores(independent, tmp_path):
    known = TrainingFeatures.of([features(20)], [features(20)], np.arange(20), independent)
    known.save(tmp_path / "f.safetensors")
    new = [features(5)]
    loaded = TrainingFeatures.load(tmp_path / "f.safetensors")
    assert np.array_equal(loaded.scores(new), known.scores(new))
    assert np.array_equal(loaded.independent, independent)
