from dataclasses import replace

import numpy as np

from trainables.core.serving.training_features import MOST_IMAGES
from tuning.ensemble.member_features import member_features


def numbers(checkpoints, images):
    """Features that tell the member and the image."""
    return [np.stack([np.full(len(images), position), images], axis=1) for position in range(len(checkpoints))]


def test_features_are_of_training_images_and_of_images_that_trained_no_member(data):
    found = member_features(data, ["a", "b"], numbers)
    for position in range(2):
        assert (found.training[position] == [[position, row] for row in data.splits["fit"]]).all()
        assert (found.held_out[position] == [[position, row] for row in data.splits["select"]]).all()
    assert np.array_equal(found.groups, data.groups[data.splits["select"]])


def test_with_folds_the_first_model_has_its_own_fold_held_out(data):
    folds = tuple(np.arange(start, start + 30) for start in (0, 30, 60))
    data = replace(data, folds=folds, splits={"pool": np.arange(90), "test": np.arange(90, 200)})
    found = member_features(data, ["a"], numbers)
    assert np.array_equal(found.held_out[0][:, 1], np.arange(30))
    assert np.array_equal(found.training[0][:, 1], np.arange(30, 90))


def test_many_training_images_are_drawn_at_random(data):
    data = replace(data, splits=data.splits | {"fit": np.arange(1000, 5000)}, groups=np.arange(5000) // 2)
    drawn = member_features(data, ["a"], numbers).training[0][:, 1]
    assert len(set(drawn)) == MOST_IMAGES and set(drawn) <= set(range(1000, 5000))
    assert 2800 < drawn.mean() < 3200


def test_one_training_image_of_each_group_is_marked_as_independent(data):
    fit = data.splits["fit"]
    groups = data.groups.copy()
    groups[fit] = 1000 + np.arange(len(fit)) // 5
    found = member_features(replace(data, groups=groups), ["a"], numbers)
    marked = found.training[0][found.independent, 1].astype(int)
    assert sorted(groups[marked]) == sorted(set(groups[fit]))
    assert len(set(marked % 5)) > 1  # not always the first
    assert np.array_equal(found.of([0]).independent, found.independent)
