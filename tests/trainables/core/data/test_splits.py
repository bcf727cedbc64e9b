import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.core.data.splits import SPLITS, Items, make_splits, twins_across
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


def everything(given_items):
    return np.arange(len(given_items.labels))


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


def test_shares_hold_in_every_class():
    made = items(np.repeat(np.arange(4), [896, 64, 3200, 2240]))
    splits = make_splits(made, everything(made), seed=0)
    for label, count in enumerate([896, 64, 3200, 2240]):
        for name, share in {"fit": 0.6, "tune": 0.125, "select": 0.125, "test": 0.15}.items():
            assert abs((made.labels[splits[name]] == label).sum() - share * count) <= 1.5


def test_the_seed_decides():
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


@pytest.mark.parametrize(
    ("counts", "published", "message"),
    [
        ([10, 3], None, r"at least 4 images, one for each of fit, tune, select, test, but 'moderate' has 3"),
        ([10, 2], "train", r"at least 3 images, one for each of fit, tune, select, but 'moderate' has 2"),
    ],
)
def test_a_class_too_small_is_named(counts, published, message):
    labels = np.repeat(np.arange(2), counts).tolist()
    sides = [published or ""] * len(labels)
    if published:
        labels, sides = [*labels, 0, 1], [*sides, "test", "test"]
    made = items(labels, published=sides)
    with pytest.raises(DataError, match=message):
        make_splits(made, everything(made), seed=0)


def test_few_groups_of_many_images_are_too_few():
    made = items(np.repeat(np.arange(2), 40), groups=np.concatenate([np.arange(40), np.repeat([40, 41], 20)]))
    with pytest.raises(DataError, match="at least 4 groups of images, .* but 'moderate' has 2"):
        make_splits(made, everything(made), seed=0)


def test_twins_of_test_images_in_training_are_counted():
    made = items([0, 0, 0, 0, 1, 1, 1, 1], groups=[0, 1, 2, 0, 4, 5, 6, 7], published=(["train"] * 3 + ["test"]) * 2)
    splits = make_splits(made, everything(made), seed=0)
    assert twins_across(made, splits) == 1
