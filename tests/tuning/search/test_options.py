import dataclasses
import math

import pytest

from search_spaces.space import load_space
from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.search.options import SearchOptions

CLASSIFICATION, SEGMENTATION = load_space("demo_space"), load_space("lung_segmentation_space")


def test_options_override_the_space():
    defaults, given = SearchOptions(CLASSIFICATION), SearchOptions(CLASSIFICATION, num_samples=3, top_k=2, tta="flips")
    assert (defaults.trials, defaults.members, defaults.views) == (CLASSIFICATION.num_samples, 5, "none")
    assert (given.trials, given.members, given.views) == (3, 2, "flips")
    assert defaults.plan().epochs == CLASSIFICATION.epochs
    assert SearchOptions(CLASSIFICATION, max_epochs=2).plan().epochs == 2
    assert SearchOptions(CLASSIFICATION, data="s3://bucket/images").data_request().place == "s3://bucket/images"


def test_folders_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    options = SearchOptions(CLASSIFICATION, data="images", weights="images")
    assert options.data_request().place == options.plan().weights == str(tmp_path / "images")


@pytest.mark.parametrize(
    "option", [{"cv_folds": 3}, {"tta": "flips"}, {"roi": "models:/lungs@champion"}, {"ordered": True}]
)
def test_options_that_the_task_does_not_support_are_refused(option):
    name = next(iter(option)).replace("_", "-")
    SearchOptions(CLASSIFICATION, **option).check()
    SearchOptions(SEGMENTATION).check()
    with pytest.raises(UserError, match=f"--{name} is not available for a segmentation, but lung_segmentation_space"):
        SearchOptions(SEGMENTATION, **option).check()


@pytest.mark.parametrize(
    ("option", "of_space", "expected"),
    [
        (None, None, None),
        (None, ("a", "b"), ("a", "b")),
        (True, None, True),
        (True, ("a", "b"), ("a", "b")),
        (True, False, True),
        (False, ("a", "b"), False),
    ],
)
def test_the_option_decides_whether_classes_are_grades_and_the_space_in_which_order(option, of_space, expected):
    space = dataclasses.replace(CLASSIFICATION, ordered=of_space)
    assert SearchOptions(space, ordered=option).data_request().ordered == expected


def test_an_unknown_test_time_augmentation_of_a_space_is_refused():
    with pytest.raises(UserError, match="tta must be one of none, .*, but demo_space has 'spins'"):
        SearchOptions(dataclasses.replace(CLASSIFICATION, tta="spins")).check()


def test_latency_is_not_measured_on_a_shared_gpu():
    both = Objective("balanced_accuracy", "latency_ms")
    for gpus in (None, 0.0, 1.0, 2.0):
        SearchOptions(CLASSIFICATION, objective=both, gpus_per_trial=gpus).check()
    SearchOptions(CLASSIFICATION, gpus_per_trial=0.5).check()
    for shared in (0.5, "auto"):
        with pytest.raises(UserError, match=f"latency_ms must be measured on .*, but got --gpus-per-trial {shared}"):
            SearchOptions(CLASSIFICATION, objective=both, gpus_per_trial=shared).check()


def test_only_whole_numbers_of_gpus_train_a_trial_together():
    for gpus in (0.0, 0.25, 1.0, 2.0, 8.0):
        SearchOptions(CLASSIFICATION, gpus_per_trial=gpus).check()
    for gpus in (1.5, 2.25, math.inf):
        with pytest.raises(UserError, match="--gpus-per-trial above 1 must be a whole number, but got"):
            SearchOptions(CLASSIFICATION, gpus_per_trial=gpus).check()


def test_the_memory_of_no_gpu_is_refused():
    for gpus in (None, 0.5, 1.0, "auto"):
        SearchOptions(CLASSIFICATION, gpu_memory=24, gpus_per_trial=gpus).check()
    with pytest.raises(UserError, match="--gpu-memory needs a GPU per trial, but got --gpus-per-trial 0"):
        SearchOptions(CLASSIFICATION, gpu_memory=24, gpus_per_trial=0.0).check()


def test_addresses_with_credentials_are_refused():
    with pytest.raises(UserError, match="--data must hold no credentials"):
        SearchOptions(CLASSIFICATION, data="s3://key:secret@bucket/images").data_request()
