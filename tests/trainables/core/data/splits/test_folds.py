import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.samples import lesion_slices
from tests.trainables.core.data.splits.test_splits import everything, items
from trainables.core.data.prepare import prepare
from trainables.core.data.splits.folds import POOL, describe_sizes, make_folds, small_division, small_set
from trainables.core.data.splits.splits import Items, make_splits
from trainables.core.errors import DataError


@given(
    sizes=st.lists(st.integers(12, 40), min_size=2, max_size=4),
    largest_group=st.integers(1, 6),
    count=st.integers(2, 8),
    seed=st.integers(0, 99),
)
def test_folds_have_each_image_once_and_divide_no_group(sizes, largest_group, count, seed):
    generator = np.random.default_rng(seed)
    lengths = [generator.integers(1, largest_group + 1, groups) for groups in sizes]
    labels = np.concatenate([np.repeat(label, each.sum()) for label, each in enumerate(lengths)])
    groups = np.repeat(np.arange(sum(sizes)), np.concatenate(lengths))
    made = items(labels, groups)
    splits, folds = make_folds(made, everything(made), seed, "grouped", count)
    assert len(folds) == count
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), splits[POOL])
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), everything(made))
    parts = [set(groups[part]) for part in (*folds, splits["test"])]
    assert sum(map(len, parts)) == len(set(groups))
    for label in range(len(sizes)):  # stratified as far as whole groups allow
        of_class = [(labels[fold] == label).sum() for fold in folds]
        assert max(of_class) - min(of_class) <= largest_group


@pytest.mark.parametrize("mode", ["grouped", "published", "random"])
def test_folds_do_not_change_the_test_split(mode):
    labels = np.repeat(np.arange(3), 60)
    published = np.where(np.arange(180) % 6 == 0, "test", "train") if mode == "published" else None
    made = items(labels, published=published)
    splits, _ = make_folds(made, everything(made), 3, mode, 5)
    np.testing.assert_array_equal(splits["test"], make_splits(made, everything(made), 3, mode)["test"])


def test_the_same_seed_gives_the_same_folds():
    made = items(np.repeat(np.arange(3), 60))
    first, again, other = (make_folds(made, everything(made), seed, "grouped", 4)[1] for seed in (0, 0, 1))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_few_images_are_enough():
    """A class of four groups cannot be in each of `tune`, `select` and five folds, and does not need to be."""
    made = items([0] * 40 + [1] * 40 + [2] * 4)
    _, folds = make_folds(made, everything(made), 0, "grouped", 5)
    assert sum((made.labels[fold] == 2).any() for fold in folds) == 3


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        ([0] * 20 + [1] * 6, 6, "needs two classes of 6 groups each outside test, but there are mild 17, moderate 5"),
        ([0] * 20 + [1] * 20 + [2] * 2, 3, "every class in at least two groups outside test.*but none has one"),
    ],
)
def test_too_few_groups_are_refused(labels, count, message):
    made = items(labels)
    with pytest.raises(DataError, match=message):
        make_folds(made, everything(made), 0, "grouped", count)


@pytest.mark.parametrize("with_lesion", [40, 60])
def test_a_class_of_few_images_in_every_group_is_in_every_fold(with_lesion):
    labels, patients = lesion_slices(with_lesion)
    made = items(labels, patients)
    splits, folds = make_folds(made, everything(made), 0, "grouped", 5)
    outside = len(np.unique(patients[splits["pool"]][labels[splits["pool"]] == 1]))
    counts = [len(np.unique(patients[fold][labels[fold] == 1])) for fold in folds]
    assert sum(counts) == outside and max(counts) - min(counts) <= 1


def test_a_label_whose_absence_is_in_one_fold_is_refused():
    """A model that trains without that fold would see the label in every image."""
    labels = np.ones((40, 2), dtype=np.int64)
    labels[::2, 1] = 0
    labels[:4, 0] = 0
    groups = np.concatenate([np.zeros(4, dtype=np.int64), np.arange(1, 37)])
    made = dataclasses.replace(
        items(np.zeros(40, dtype=np.int64), groups), labels=labels, class_names=("edema", "nodule")
    )
    with pytest.raises(DataError, match="images without each label in at least two groups .* without edema are in one"):
        make_folds(made, np.arange(40), 0, "grouped", 4)


def test_a_fold_is_a_data_set_to_train_on(folded_data):
    for number, fold in enumerate(folded_data.folds, start=1):
        data = folded_data.fold(number)
        assert set(data.splits) == {"fit", "tune", POOL}  # without the test split
        np.testing.assert_array_equal(data.splits["tune"], fold)
        np.testing.assert_array_equal(np.union1d(data.splits["fit"], fold), folded_data.splits[POOL])
        assert not set(folded_data.groups[data.splits["fit"]]) & set(folded_data.groups[fold])
        assert data.images_key(32) == folded_data.images_key(32)


def test_prepared_data_have_folds(small_data):
    folded = prepare(small_data.place, sizes=[32], seed=0, folds=4, store=small_data.store)
    assert (set(folded.splits), folded.selection, small_data.selection) == ({POOL, "test"}, POOL, "select")
    np.testing.assert_array_equal(folded.splits["test"], small_data.splits["test"])
    assert describe_sizes(folded.folds) == "4 folds of 25 to 26 images"
    assert describe_sizes((np.arange(3), np.arange(3))) == "2 folds of 3 images"


def test_small_data_sets_are_recognised(small_data):
    reason = small_division(small_data.labels, small_data.groups, small_data.splits, small_data.class_names)
    assert reason.startswith("small data set: tune has 2 groups of few, and there are 120 groups in total, so")
    assert "tune-run --cv-folds 5" in reason
    large = items(np.repeat(np.arange(2), 400))
    splits = make_splits(large, everything(large), 0)
    assert small_division(large.labels, large.groups, splits, large.class_names) == ""
    by_fours = dataclasses.replace(
        large, groups=np.arange(800) // 5
    )  # 20 groups of each class in tune, 160 groups in total
    splits = make_splits(by_fours, everything(by_fours), 0)
    assert "160 groups in total" in small_division(by_fours.labels, by_fours.groups, splits, by_fours.class_names)
    assert small_set({"a": 100, "b": 500}, 600) == ""
    assert "about 9 groups of a each, of 600 in total" in small_set({"a": 75, "b": 525}, 600)


def test_fewer_groups_than_folds_are_refused_for_several_labels():
    labels = np.tile([[1, 0], [0, 1], [1, 1], [0, 0]], (5, 1))
    made = Items(labels, np.arange(20) // 4, np.full(20, ""), ("one", "other"))
    with pytest.raises(
        DataError, match="--cv-folds 5 needs at least 5 groups outside test, but there are 4: use fewer"
    ):
        make_folds(made, np.arange(20), 0, "grouped", 5)
