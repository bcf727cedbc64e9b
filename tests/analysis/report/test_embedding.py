from types import SimpleNamespace

import numpy as np
import pytest

from analysis.report.embedding import embed, images_to_embed, images_to_explain


def data(counts, tests):
    labels = np.repeat(np.arange(len(counts)), counts)
    generator = np.random.default_rng(0)
    of_class = [generator.permutation(np.flatnonzero(labels == label)) for label in range(len(counts))]
    test = np.sort(np.concatenate([rows[:count] for rows, count in zip(of_class, tests, strict=True)]))
    return SimpleNamespace(
        training="fit", labels=labels, splits={"fit": np.setdiff1d(np.arange(len(labels)), test), "test": test}
    )


def test_few_images_are_all_embedded():
    few = data([30, 5], [6, 0])
    assert sorted(images_to_embed(few, 2000)) == list(range(35))


def test_a_sample_of_many_images_keeps_the_proportions_and_every_class():
    many = data([9000, 900, 3], [1000, 100, 1])
    chosen = images_to_embed(many, 500)
    assert len(chosen) == len(set(chosen)) <= 500
    in_test = np.isin(chosen, many.splits["test"])
    assert np.bincount(many.labels[chosen[in_test]]).tolist() == pytest.approx([50, 5, 1], abs=2)
    assert np.bincount(many.labels[chosen[~in_test]]).tolist() == pytest.approx([400, 40, 1], abs=6)
    np.testing.assert_array_equal(chosen, images_to_embed(many, 500))


def test_mistakes_and_correct_predictions_of_each_class_take_turns_most_confident_first():
    labels = np.array([0, 0, 0, 0, 1, 1])
    of_one = np.array([0.1, 0.2, 0.9, 0.7, 0.8, 0.6])  # images 2 and 3 are predicted as class 1
    chosen = images_to_explain(labels, np.stack([1 - of_one, of_one], axis=1), 5)
    assert chosen.tolist() == [2, 0, 4, 3, 1]
    assert images_to_explain(labels[:0], np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize("count", [5, 7, 40])
def test_fewer_images_than_the_perplexity_are_embedded(count):
    features = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    points = embed(features)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, embed(features))


def test_separate_clusters_stay_separate():
    labels = np.repeat([0, 1], 40)
    features = np.random.default_rng(0).normal(size=(80, 8)) + 12 * labels[:, None]
    points = embed(features.astype(np.float32))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * 80)
    assert (labels[distances.argmin(axis=1)] == labels).all()


def test_equal_features_share_a_point():
    features = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    points = embed(np.repeat(features, [300, *[1] * 11], axis=0))
    assert (points[:300] == points[0]).all()
    assert len(np.unique(points, axis=0)) == 12


def test_features_that_cannot_be_embedded_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        embed(np.full((9, 4), np.nan, np.float32))
    with pytest.raises(
        ValueError, match="different features, but got 1"
    ):  # dead units, on which scikit-learn's t-SNE crashes
        embed(np.zeros((400, 4), np.float32))
    barely = np.ones((400, 4)) + 1e-16 * np.arange(400)[:, None]
    with pytest.raises(ValueError, match="different features|nearly the same"):
        embed(barely)
