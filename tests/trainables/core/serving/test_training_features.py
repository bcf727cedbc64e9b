import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from trainables.core.serving.training_features import TrainingFeatures, joined

RNG = np.random.default_rng(0)


def units(count, width=6):
    return joined([RNG.normal(size=(count, width)).astype(np.float32)])


def test_a_score_is_the_distance_to_the_fifth_neighbour_over_the_limit():
    training, held_out, new = units(50), units(30), units(7)
    features = TrainingFeatures.of(training, held_out, np.arange(30))
    neighbours = NearestNeighbors(n_neighbors=5).fit(training)
    distances, usual = (neighbours.kneighbors(each)[0][:, 4] for each in (new, held_out))
    np.testing.assert_allclose(features.scores(new), distances / usual.max(), rtol=1e-2)  # stored in half precision
    assert (features.scores(held_out) <= 1).all()


def test_each_group_has_the_same_weight_in_the_limit():
    """200 groups, half of 1 and half of 4 images, whose quantile is that of images repeated to equal numbers."""
    training, groups = units(40, 3), np.concatenate([np.arange(100), np.repeat(np.arange(100, 200), 4)])
    held_out = units(len(groups), 3)
    distances = NearestNeighbors(n_neighbors=5).fit(training.astype(np.float16)).kneighbors(held_out)[0][:, 4]
    repeated = np.repeat(distances, 4 // np.bincount(groups)[groups])
    expected = np.quantile(repeated, 0.99, method="inverted_cdf")
    assert TrainingFeatures.of(training, held_out, groups).limit == pytest.approx(expected, rel=1e-4)


def test_all_members_have_equal_shares_in_a_distance():
    members = [RNG.normal(size=(2, width)).astype(np.float32) * scale for width, scale in ((3, 100), (9, 0.01))]
    one, other = joined(members)
    squares = [np.sum(np.diff(joined([member]), axis=0) ** 2) for member in members]
    assert np.sum((one - other) ** 2) == pytest.approx(np.mean(squares), rel=1e-4)


def test_equal_features_are_not_far_from_each_other():
    """A network may give all images the same features, and rounding must not make one of them unlike the others."""
    same = np.tile(units(1, 500), (20, 1))
    assert (TrainingFeatures.of(same, same, np.arange(20)).scores(same) <= 1).all()
    nothing = joined([np.zeros((20, 4), np.float32)])
    assert (TrainingFeatures.of(nothing, nothing, np.arange(20)).scores(nothing) == 0).all()


def test_a_file_restores_the_scores(tmp_path):
    features = TrainingFeatures.of(units(20), units(20), np.arange(20))
    features.save(tmp_path / "f.safetensors")
    new = units(5)
    assert np.array_equal(TrainingFeatures.load(tmp_path / "f.safetensors").scores(new), features.scores(new))
