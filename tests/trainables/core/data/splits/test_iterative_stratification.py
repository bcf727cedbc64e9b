import numpy as np

from trainables.core.data.splits.folds import make_folds
from trainables.core.data.splits.iterative_stratification import deal_by_labels
from trainables.core.data.splits.splits import SPLITS, Items, make_splits

NAMES = ("common", "linked", "rare")


def drawn(count=600, seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, 3)) < [0.4, 0.15, 0.03]).astype(np.int64)
    labels[:, 1] |= (labels[:, 0] == 1) & (generator.random(count) < 0.3)
    groups = np.sort(generator.integers(0, count // 3, count))
    return Items(labels, groups, np.full(count, ""), NAMES)


def deviation(items, splits):
    """Return the largest difference between a split's share of a label's images and its share of all images."""
    sizes = np.array([len(rows) for rows in splits])
    shares = np.array([items.labels[rows].sum(axis=0) / items.labels.sum(axis=0) for rows in splits])
    return np.abs(shares - (sizes / sizes.sum())[:, None]).max()


def test_splits_keep_groups_whole_and_labels_in_proportion():
    for seed in range(5):
        items = drawn(seed=seed)
        splits = make_splits(items, np.arange(600), seed=seed)
        parts = [splits[name] for name in SPLITS]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(600))
        assert not any(
            set(items.groups[one]) & set(items.groups[other]) for one in parts for other in parts if one is not other
        )
        np.testing.assert_allclose([len(part) / 600 for part in parts], [0.6, 0.125, 0.125, 0.15], atol=0.02)
        generator = np.random.default_rng(seed)
        group_of = np.unique(items.groups, return_inverse=True)[1]
        by_chance = []
        for _ in range(20):
            side = generator.choice(4, group_of.max() + 1, p=[0.6, 0.125, 0.125, 0.15])[group_of]
            by_chance.append(deviation(items, [np.flatnonzero(side == index) for index in range(4)]))
        assert deviation(items, parts) < 0.08
        assert deviation(items, parts) < np.quantile(by_chance, 0.1)


def test_folds_have_the_same_share_of_every_label():
    items = drawn()
    splits, folds = make_folds(items, np.arange(600), seed=0, mode="grouped", count=5)
    np.testing.assert_array_equal(splits["test"], make_splits(items, np.arange(600), seed=0)["test"])
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), splits["pool"])
    counts = np.array([items.labels[fold].sum(axis=0) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 4
    assert np.ptp([len(fold) for fold in folds]) <= 8


def test_the_last_groups_of_a_rare_label_go_to_sides_without_it():
    labels = np.zeros((200, 2), dtype=np.int64)
    labels[:100, 0], labels[:4, 1] = 1, 1
    sides = deal_by_labels(
        labels, np.split(np.arange(200), 200), np.array([0.6, 0.125, 0.125, 0.15]), np.random.default_rng(0)
    )
    assert set(sides[:4]) == {0, 1, 2, 3}


def test_random_test_images_are_in_proportion_too():
    items = drawn()
    test = make_splits(items, np.arange(600), seed=0, mode="random")["test"]
    shares = items.labels[test].sum(axis=0) / items.labels.sum(axis=0)
    np.testing.assert_allclose(shares, 0.15, atol=0.05)
    np.testing.assert_allclose(len(test) / 600, 0.15, atol=0.015)
