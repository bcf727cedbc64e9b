from dataclasses import replace

import pytest
from optuna.samplers import RandomSampler

from search_spaces.space import SearchSpace, shipped_spaces
from tuning.search.space_contents import space_contents


def suggest(trial, backbones):
    config = {"backbone": trial.suggest_categorical("backbone", list(backbones)), "freeze_depth": 2}
    config["lr"] = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    if config["backbone"] == "b":
        config["epochs"] = trial.suggest_int("epochs", 1, 9, step=2)
    return config


def recipe():
    return {"backbone": "a", "lr": 0.001}


SPACE = SearchSpace("mine", "Mine", suggest, ("a", "b"), "phantoms", recipes=(recipe,))


def test_the_contents_are_what_the_space_says():
    contents = space_contents(SPACE, SPACE.backbones)
    assert contents["parameter"] == {
        "backbone": 'one of ["a", "b"]',
        "epochs": "1 to 9, step 2",
        "lr": "0.0001 to 0.01, logarithmic",
    }
    assert contents["recipe"] == {"0": {"backbone": "a", "lr": 0.001}}
    configurations = list(contents["configuration"].values())
    assert {config["lr"] for config in configurations} == {1e-4, 1e-2}
    assert {config.get("epochs") for config in configurations} == {None, 1, 9}
    assert {config["freeze_depth"] for config in configurations} == {2}


def test_no_random_number_decides(monkeypatch):
    """Another version of numpy or Optuna may draw other numbers."""
    before = [space_contents(space, space.backbones) for space in shipped_spaces()]

    def draw(*arguments):
        raise AssertionError("a random number was drawn")

    monkeypatch.setattr(RandomSampler, "sample_independent", draw)
    assert [space_contents(space, space.backbones) for space in shipped_spaces()] == before


@pytest.mark.parametrize("change", ["fixed value", "range", "recipe"])
def test_another_space_has_other_contents(change):
    def changed(trial, backbones):
        return (
            suggest(trial, backbones)
            | {
                "recipe": {},
                "range": {"dropout": trial.suggest_float("dropout", 0.0, 0.5)} if change == "range" else {},
                "fixed value": {"freeze_depth": 3},
            }[change]
        )

    other = replace(SPACE, suggest=changed, recipes=())
    if change != "recipe":
        assert space_contents(other, SPACE.backbones) != space_contents(replace(SPACE, recipes=()), SPACE.backbones)
    assert space_contents(other, SPACE.backbones) != space_contents(SPACE, SPACE.backbones)
