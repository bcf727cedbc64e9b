import dataclasses

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from trainables.core.data.labels import classes_of_groups, label_sets, membership

SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [1, 0, 1], [0, 1, 0]])


def test_an_image_belongs_to_its_class():
    labels = np.random.default_rng(0).integers(0, 4, 50)
    np.testing.assert_array_equal(membership(labels, 4), LabelBinarizer().fit(range(4)).transform(labels))
    assert not membership(np.array([-1]), 4).any()


def test_an_image_belongs_to_each_of_its_labels():
    np.testing.assert_array_equal(membership(SEVERAL, 3), SEVERAL.clip(0))


def test_equal_labels_have_equal_numbers():
    one, none, unknown, same, other = label_sets(SEVERAL)
    assert one == same and len({one, none, other}) == 3 and min(one, none, other) >= 0 > unknown
    labels = np.array([2, -1, 0])
    assert label_sets(labels) is labels


def test_images_with_unknown_labels_are_not_counted(small_data):
    labels = small_data.labels.copy()
    labels[:2] = -1
    data = dataclasses.replace(small_data, labels=labels)
    first = small_data.class_names[small_data.labels[0]]
    assert data.count_classes() == small_data.count_classes() | {first: small_data.count_classes()[first] - 2}
    assert data.describe_label(0) == "no label"
    assert data.count_classes(np.array([0, 1, 2])) == dict.fromkeys(data.class_names, 0) | {data.describe_label(2): 1}


def test_groups_are_stratified_by_the_class_that_fewest_of_them_have():
    labels = np.array([0, 0, 1, 0, 0, 0, 2, 0])
    groups = [np.array([0, 1, 2]), np.array([3, 4]), np.array([5, 6]), np.array([7])]
    assert classes_of_groups(labels, groups, 3).tolist() == [1, 0, 2, 0]
    several = np.stack([np.ones(8, dtype=np.int64), labels == 1, np.zeros(8, dtype=np.int64)], axis=1)
    several[7] = 0
    assert classes_of_groups(several, groups, 3).tolist() == [1, 0, 0, 3]
