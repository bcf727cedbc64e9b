import dataclasses
from contextlib import nullcontext

import pytest

from search_spaces.space import SpaceError, load_space
from trainables.core.metric_names import Objective
from tuning.search.plan import Plan


@pytest.fixture
def plan():
    return Plan(load_space("demo_space"), ("scratch_cnn",), "random", 32, 3, Objective("balanced_accuracy"), True, 0)


def test_a_trial_reports_once_per_epoch_or_fold(plan):
    assert (plan.steps, dataclasses.replace(plan, folds=5).steps) == (3, 5)


def test_samples_begin_with_the_recipes_and_repeat_for_the_same_seed(plan):
    samples = plan.samples(4)
    recipe = plan.space.recipe_params(plan.backbones)[0]
    assert recipe.items() - {("frozen_quarters", 0)} <= samples[0].items()
    assert samples == plan.samples(4)
    assert samples[1:] != dataclasses.replace(plan, seed=1).samples(4)[1:]
    assert len({config["seed"] for config in samples}) == 4


def test_only_segmentations_name_their_task(plan):
    """The configurations are part of the identity of searches that began before there was a second task."""
    assert "task" not in plan.samples(1)[0]
    space = load_space("lung_segmentation_space")
    other = dataclasses.replace(plan, space=space, backbones=space.backbones)
    assert other.samples(1)[0]["task"] == "segmentation"


@pytest.mark.parametrize(
    ("choices", "refused"),
    [
        ([(1e-3, 0.1), (1e-4, 0.01)], True),
        ([[16], [32]], True),
        ([1, True], True),
        ([0.5, 0.5], True),
        ([None, False, 2, 0.5, "a"], False),
    ],
)
def test_choices_that_a_study_cannot_store_are_refused(plan, choices, refused):
    """A study stores choices as JSON, and refuses a parameter whose choices are not those that it reads back."""

    def suggest(trial, backbones):
        trial.suggest_categorical("pair", choices)
        return load_space("demo_space").suggest(trial, backbones)

    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, suggest=suggest, recipes=()))
    message = "parameter pair: choices must be None, bool, int, float or str, each once, but got "
    with pytest.raises(SpaceError, match=message) if refused else nullcontext():
        plan.samples(3)
