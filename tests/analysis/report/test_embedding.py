from types import SimpleNamespace

import numpy as np
import pytest

from analysis.report.embedding import embedded, images_to_embed, images_to_map


def data(counts, tests):
    labels = np.repeat(np.arange(len(counts)), counts)
    generator = np.random.default_rng(0)
    of_class = [generator.permutation(np.flatnonzero(labels == label)) for label in range(len(counts))]
    test = np.sort(np.concatenate([rows[:count] for rows, count in zip(of_class, tests, strict=True)]))
    return SimpleNamespace(
        training="fit", labels=labels, splits={"fit": np.setdiff1d(np.arange(len(labels)), test), "test": test}
    )


def test_all_images_are_embedded_where_they_are_few():
    few = data([30, 5], [6, 0])
    assert sorted(images_to_embed(few, 2000)) == list(range(35))


def test_of_many_images_splits_and_classes_keep_their_proportions_and_none_is_lost():
    many = data([9000, 900, 3], [1000, 100, 1])
    chosen = images_to_embed(many, 500)
    assert len(chosen) == len(set(chosen)) <= 500
    in_test = np.isin(chosen, many.splits["test"])
    assert np.bincount(many.labels[chosen[in_test]]).tolist() == pytest.approx([50, 5, 1], abs=2)
    assert np.bincount(many.labels[chosen[~in_test]]).tolist() == pytest.approx([400, 40, 1], abs=6)
    np.testing.assert_array_equal(chosen, images_to_embed(many, 500))


def test_wrong_and_right_images_of_each_class_come_in_turn_the_surest_first():
    labels = np.array([0, 0, 0, 0, 1, 1])
    of_one = np.array([0.1, 0.2, 0.9, 0.7, 0.8, 0.6])  # images 2 and 3 are taken for class 1
    chosen = images_to_map(labels, np.stack([1 - of_one, of_one], axis=1), 5)
    assert chosen.tolist() == [2, 0, 4, 3, 1]
    assert images_to_map(labels[:0], np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize("count", [5, 7, 40])
def test_fewer_images_than_the_perplexity_are_embedded_too(count):
    features = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    points = embedded(features)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, embedded(features))


def test_what_lies_apart_stays_apart():
    labels = np.repeat([0, 1], 40)
    features = np.random.default_rng(0).normal(size=(80, 8)) + 12 * labels[:, None]
    points = embedded(features.astype(np.float32))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * 80)
    assert (labels[distances.argmin(axis=1)] == labels).all()


def test_equal_images_share_a_place():
    features = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    points = embedded(np.repeat(features, [300, *[1] * 11], axis=0))
    assert (points[:300] == points[0]).all()
    assert len(np.unique(points, axis=0)) == 12


def test_what_cannot_be_embedded_says_why():
    with pytest.raises(ValueError, match="must be finite"):
        embedded(np.full((9, 4), np.nan, np.float32))
    with pytest.raises(ValueError, match="differ, but got 1"):  # dead units; scikit-learn's t-SNE crashes on it
        embedded(np.zeros((400, 4), np.float32))
    barely = np.ones((400, 4)) + 1e-16 * np.arange(400)[:, None]
    with pytest.raises(ValueError, match="differ|the same"):
        embedded(barely)
