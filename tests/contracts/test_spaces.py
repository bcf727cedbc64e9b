"""Contract of every shipped search space."""

import dataclasses
import importlib
import json
from pathlib import Path

import optuna
import pytest

from search_spaces.space import shipped_spaces
from trainables.core.config import ClassificationConfig, TrainConfig
from trainables.core.errors import ConfigError
from trainables.core.metric_names import Objective
from trainables.core.models.backbones.backbone import stage_count
from tuning.search.plan import Plan

SPACES = {space.name: space for space in shipped_spaces()}


def plan(space, backbones=None):
    return Plan(
        space,
        backbones or space.backbones,
        "random",
        space.image_size,
        space.epochs,
        Objective("balanced_accuracy"),
        True,
        0,
    )


def sampled(space, count):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield trial, plan(space).configure(trial)


@pytest.mark.parametrize("name", SPACES)
def test_200_samples_parse_and_are_plain_json(name):
    for trial, config in sampled(SPACES[name], 200):
        parsed = TrainConfig.from_dict(json.loads(json.dumps(config)))
        assert parsed.task == SPACES[name].task
        if isinstance(parsed, ClassificationConfig):
            assert 0 <= parsed.freeze_depth <= stage_count(parsed.backbone)
        assert (
            SPACES[name].suggest(optuna.trial.FixedTrial(trial.params), SPACES[name].backbones).items()
            <= config.items()
        )


@pytest.mark.parametrize("name", SPACES)
def test_every_choice_is_drawn(name):
    drawn, offered = {}, {}
    for trial, _ in sampled(SPACES[name], 200):
        for parameter, distribution in trial.distributions.items():
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                offered[parameter] = set(distribution.choices)
                drawn.setdefault(parameter, set()).add(trial.params[parameter])
    assert drawn == offered


@pytest.mark.parametrize("name", SPACES)
def test_recipes_are_complete_and_explained(name):
    space = SPACES[name]
    recipes = space.recipe_params(space.backbones)
    assert 1 <= len(recipes) == len(space.recipes)
    assert all(recipe.__doc__ for recipe in space.recipes)
    for params in recipes:
        plan(space).configure(optuna.trial.FixedTrial(params, number=0))


@pytest.mark.parametrize("name", SPACES)
def test_recipes_move_to_another_backbone(name):
    space = SPACES[name]
    moved = [params | {"backbone": "torchvision:squeezenet1_1"} for params in space.recipe_params(space.backbones)]
    recipes = space.recipe_params(["torchvision:squeezenet1_1"])
    assert recipes == [params for index, params in enumerate(moved) if params not in moved[:index]]


@pytest.mark.parametrize("name", SPACES)
def test_a_space_file_is_short(name):
    file = importlib.import_module(f"search_spaces.{name}").__file__
    assert 20 < len(Path(file).read_text().splitlines()) <= 100


def test_a_space_must_not_set_options_of_the_command_line():
    space = dataclasses.replace(SPACES["demo_space"], suggest=lambda trial, backbones: {"image_size": 32}, recipes=())
    with pytest.raises(ConfigError, match="demo_space must not set image_size: the command line does"):
        plan(space).samples(1)
