import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.samples import lesion_slices
from trainables.core.data.splits.folds import make_folds
from trainables.core.data.splits.splits import (
    MOST_FREQUENT,
    SHARES,
    SPLITS,
    Items,
    make_splits,
    missing_classes,
    twins_across,
)
from trainables.core.errors import DataError

NAMES = ("mild", "moderate", "none", "very_mild")


def items(labels, groups=None, published=None):
    labels = np.asarray(labels)
    return Items(
        labels=labels,
        groups=np.arange(len(labels)) if groups is None else np.asarray(groups),
        published=np.full(len(labels), "") if published is None else np.asarray(published),
        class_names=NAMES[: labels.max() + 1],
    )


def everything(all_items):
    return np.arange(len(all_items.labels))


@pytest.mark.parametrize("published", [[""] * 4, ["", "", "", "test", "test"]], ids=["none", "test"])
def test_a_segmentation_needs_two_images_to_train_on(published):
    """Batch norm cannot train on one image."""
    few = items([0] * len(published), published=published)
    with pytest.raises(DataError, match="^fit needs at least two images, but has 1: add some$"):
        make_splits(few, everything(few), seed=0)
    more = items([0] * (len(published) + 1), published=["", *published])
    assert len(make_splits(more, everything(more), seed=0)["fit"]) == 2


@given(
    sizes=st.lists(st.integers(4, 60), min_size=2, max_size=4),
    largest_group=st.integers(1, 6),
    with_test=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_image_and_no_group_is_in_two_splits(sizes, largest_group, with_test, seed):
    generator = np.random.default_rng(seed)
    labels, groups, published = [], [], []
    for label, count in enumerate(sizes):  # `count` groups a class, each of one class
        for _ in range(count):
            group = len(set(groups))
            size = int(generator.integers(1, largest_group + 1))
            labels += [label] * size
            groups += [group] * size
            published += ["train" if with_test else ""] * size
        if with_test:
            labels.append(label)
            groups.append(len(set(groups)))
            published.append("test")
    made = items(labels, groups, published)
    splits = make_splits(made, everything(made), seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    for name, other in ((a, b) for a in SPLITS for b in SPLITS if a < b):
        assert not set(made.groups[splits[name]]) & set(made.groups[splits[other]])
    for indices in splits.values():
        assert set(made.labels[indices]) == set(range(len(sizes)))
    if with_test:
        assert set(splits["test"]) == set(np.flatnonzero(made.published == "test"))


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_stratified_by_their_rarest_class(seed):
    """40 of 60 patients have a lesion in 4 of 20 slices: in each split, two of three patients have one."""
    labels, patients = lesion_slices(40)
    made = items(labels, patients)
    for indices in make_splits(made, everything(made), seed).values():
        share = len(np.unique(patients[indices][labels[indices] == 1])) / len(np.unique(patients[indices]))
        assert share == pytest.approx(2 / 3, abs=0.05)


def test_searches_of_older_versions_keep_their_splits():
    """Their test split, which the older version printed, has only patients with a lesion."""
    labels, patients = lesion_slices(40)
    made = dataclasses.replace(items(labels, patients), stratify_by=MOST_FREQUENT)
    test = make_splits(made, everything(made), 0)["test"]
    assert set(patients[test].tolist()) == {1, 4, 5, 19, 21, 24, 28, 35, 36}


@pytest.mark.parametrize("mode", ["grouped", "random"])
def test_the_share_of_test_can_be_set(mode):
    made = items(np.repeat(np.arange(3), 200))
    splits = make_splits(made, everything(made), seed=0, mode=mode, test_share=0.2)
    assert {name: len(indices) for name, indices in splits.items()} == pytest.approx(
        {"fit": 339, "tune": 71, "select": 71, "test": 120}, abs=3
    )
    _, folds = make_folds(made, everything(made), 0, mode, 5, test_share=0.2)
    assert sum(map(len, folds)) == 480


def test_shares_hold_in_every_class():
    made = items(np.repeat(np.arange(4), [896, 64, 3200, 2240]))
    splits = make_splits(made, everything(made), seed=0)
    for label, count in enumerate([896, 64, 3200, 2240]):
        for name, share in {"fit": 0.6, "tune": 0.125, "select": 0.125, "test": 0.15}.items():
            assert abs((made.labels[splits[name]] == label).sum() - share * count) <= 1.5


def test_the_seed_determines_the_splits():
    made = items(np.repeat(np.arange(2), 50))
    first, again, other = (make_splits(made, everything(made), seed) for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in SPLITS)
    assert any(first[name].tolist() != other[name].tolist() for name in SPLITS)


def test_unusable_images_are_in_no_split():
    made = items(np.repeat(np.arange(2), 50))
    splits = make_splits(made, np.arange(1, 100), seed=0)
    assert 0 not in np.concatenate(list(splits.values()))


def test_a_published_val_is_pooled():
    made = items(np.repeat(np.arange(2), 40), published=(["train"] * 30 + ["val"] * 5 + ["test"] * 5) * 2)
    splits = make_splits(made, everything(made), seed=0)
    assert (
        sorted(np.concatenate([splits[name] for name in SPLITS[:3]]))
        == np.flatnonzero(made.published != "test").tolist()
    )


def test_a_class_without_images_is_named():
    made = items([0, 0, 0, 0, 2, 2, 2, 2])
    with pytest.raises(DataError, match="every class needs images, but 'moderate' has none"):
        make_splits(made, everything(made), seed=0)


def test_a_split_of_one_class_is_refused():
    made = items(np.repeat(np.arange(2), 40), groups=np.concatenate([np.arange(40), np.repeat([40, 41], 20)]))
    with pytest.raises(DataError, match="tune has 1: moderate has too few groups of images"):
        make_splits(made, everything(made), seed=0)


@pytest.mark.parametrize(
    ("groups", "sides"), [(1, ["fit"]), (2, ["fit", "test"]), (3, ["fit", "tune", "test"]), (4, list(SPLITS))]
)
@pytest.mark.parametrize("published", [False, True])
def test_few_groups_go_to_fit_test_tune_select_in_this_order(groups, sides, published):
    labels = [0] * 40 + [1] * 40 + [2] * groups * 5
    of_rare = 80 + np.repeat(np.arange(groups), 5)
    split = None
    if published:  # a published test split with one image of each class, so that three splits remain
        labels, of_rare, split = [*labels, 0, 1], [*of_rare, 200, 201], ["train"] * len(labels) + ["test"] * 2
        sides = ["fit", "tune", "select"][:groups]
    made = items(labels, np.concatenate([np.arange(80), of_rare]), split)
    splits = make_splits(made, everything(made), seed=0)
    assert [name for name in SPLITS if (made.labels[splits[name]] == 2).any()] == sides
    missing = [name for name in SPLITS if name not in sides]
    assert missing_classes(made, splits) == ({"none": missing} if missing else {})


def straddling():
    """40 groups of four images of two classes; one image of each group was published as test."""
    return items(np.repeat(np.arange(2), 80), np.repeat(np.arange(40), 4), (["train"] * 2 + ["val"] + ["test"]) * 40)


def test_a_published_test_split_that_divides_groups_is_only_used_on_request():
    made = straddling()
    grouped = make_splits(made, everything(made), seed=0)
    assert twins_across(made, grouped) == 0
    assert {abs(len(grouped[name]) / 160 - share) < 0.03 for name, share in SHARES.items()} == {True}
    published = make_splits(made, everything(made), seed=0, mode="published")
    assert published["test"].tolist() == np.flatnonzero(made.published == "test").tolist()
    assert twins_across(made, published) == 40
    for name in ("fit", "tune", "select"):  # these are grouped in every mode
        rest = np.concatenate([published[other] for other in ("fit", "tune", "select") if other != name])
        assert not set(made.groups[published[name]]) & set(made.groups[rest])


def test_a_random_test_split_is_drawn_by_image_within_each_class():
    made = straddling()
    splits = make_splits(made, everything(made), seed=0, mode="random")
    assert np.bincount(made.labels[splits["test"]]).tolist() == [12, 12]
    assert twins_across(made, splits) > 0
    assert sorted(np.concatenate(list(splits.values()))) == list(range(160))


def test_the_published_mode_needs_a_published_split():
    made = items(np.repeat(np.arange(2), 40))
    with pytest.raises(DataError, match="--split published needs a published test split"):
        make_splits(made, everything(made), seed=0, mode="published")


def test_test_images_with_a_group_member_in_training_are_counted():
    made = items([0, 0, 0, 0, 1, 1, 1, 1], groups=[0, 1, 2, 0, 4, 5, 6, 7], published=(["train"] * 3 + ["test"]) * 2)
    splits = make_splits(made, everything(made), seed=0, mode="published")
    assert twins_across(made, splits) == 1


def test_a_class_whose_only_groups_are_in_the_published_test_split_is_refused():
    labels, published = [0] * 10 + [1] * 10 + [2] * 4, ["train"] * 16 + ["test"] * 8
    made = items(labels, published=published)
    with pytest.raises(DataError, match="every class, but has none of none: .* use --split grouped"):
        make_splits(made, everything(made), seed=0, mode="published")


@pytest.mark.parametrize("mode", ["grouped", "published"])
def test_a_test_split_of_all_images_is_refused(mode):
    made = items([0, 1] * 10, published=["test"] * 20)
    with pytest.raises(DataError, match="outside the published test split, but all 20 usable images are in it"):
        make_splits(made, everything(made), 0, mode)
    assert len(make_splits(made, everything(made), 0, "random")["fit"])


@pytest.mark.parametrize(("mode", "remedy"), [("grouped", "; add"), ("published", "; use --split grouped, add")])
def test_the_remedy_for_a_class_in_the_test_split_only_is_not_the_mode_in_use(mode, remedy):
    made = items([0, 1] * 10 + [2] * 5, published=["train"] * 20 + ["test"] * 5)
    with pytest.raises(DataError, match=f"has none of none: all their groups are in the published test split{remedy}"):
        make_splits(made, everything(made), 0, mode)
