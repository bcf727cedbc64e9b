import dataclasses
import sys
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace, SpaceError, load_space

SPACE_FILE = """
from search_spaces import choices
from search_spaces.space import SearchSpace

def suggest(trial, backbones):
    return {**choices.backbone(trial, backbones, (0, 4)), **choices.batch_size(trial, (8, 16))}

SPACE = SearchSpace(name="mine", title="my own", suggest=suggest, backbones=("scratch_cnn",), data="phantoms")
"""


def space(recipe=None):
    def suggest(trial, backbones):
        config = {"backbone": trial.suggest_categorical("backbone", backbones), "optimizer": "sgd"}
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            config["momentum"] = trial.suggest_float("momentum", 0.5, 0.9)
        return config

    recipes = () if recipe is None else (lambda: recipe,)
    return SearchSpace("s", "title", suggest, ("a", "b"), data="phantoms", recipes=recipes)


def test_shipped_spaces_load_by_name():
    assert load_space("demo_space").name == "demo_space"


def test_a_file_and_a_module_load(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SPACE_FILE)
    monkeypatch.chdir(tmp_path)
    assert load_space("mine.py").name == "mine"
    assert load_space("mine:SPACE").name == "mine"


def test_a_file_can_import_its_neighbours_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "pictures_beside_it.py").write_text("PLACE = 'phantoms'\n")
    text = "from pictures_beside_it import PLACE\n" + SPACE_FILE.replace('data="phantoms"', "data=PLACE")
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = list(sys.path)
    assert load_space("../mine.py").data == "phantoms"
    assert sys.path == before


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "alzheimer",
            r"a space must be one of alzheimer_space, .* but got 'alzheimer' \(did you mean alzheimer_space",
        ),
        ("nowhere.py", "nowhere.py does not"),
        ("no.such.module:SPACE", "cannot be imported"),
        ("search_spaces.space:load_space", "must be a SearchSpace, but is function"),
        ("search_spaces.space:NOTHING", "must be a SearchSpace, but is NoneType"),
    ],
)
def test_invalid_references_are_refused(reference, message):
    with pytest.raises(SpaceError, match=message):
        load_space(reference)


def test_a_name_without_the_suffix_of_its_file_gives_a_hint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SPACE_FILE)
    with pytest.raises(SpaceError, match=r"but got 'mine' \(did you mean mine\.py\?\)"):
        load_space("mine")


def test_a_name_that_mlflow_would_refuse_is_refused():
    with pytest.raises(SpaceError, match="the name of a space must contain only letters, digits"):
        SearchSpace("a/b", "title", lambda trial, backbones: {}, (), data="phantoms")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1, but s has 0"),
        ({"task": "detection"}, "task must be one of classification, segmentation, multi_label, but s has 'detection'"),
        ({"test_share": 1.0}, "test_share must be between 0 and 1, but s has 1"),
        ({"ordered": "mild"}, "ordered must be True, False or a tuple of different class names .*, but s has 'mild'"),
        ({"ordered": ("mild", "mild")}, "ordered must be .*, but s has \\('mild', 'mild'\\)"),
        ({"group_pattern": "("}, "group_pattern of s must be a regular expression: missing \\)"),
    ],
)
def test_invalid_defaults_are_refused(changes, message):
    with pytest.raises(SpaceError, match=message):
        dataclasses.replace(space(), **changes)


def test_a_file_that_cannot_run_is_refused(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(SpaceError, match="cannot be run: ZeroDivisionError"):
        load_space(str(tmp_path / "broken.py"))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"backbone": "a", "optimizer": "sgd"}, "momentum"),
        ({"backbone": "a", "optimizer": "adam", "momentum": 0.6}, "sets momentum, which its branch does not read"),
        ({"backbone": "a", "optimizer": "sgd", "momentum": 0.99}, "0.99"),
        ({"backbone": "a", "optimizer": "lion"}, "lion"),
    ],
)
def test_an_incomplete_recipe_is_refused(recipe, message):
    with pytest.raises(SpaceError, match=message):
        space(recipe).recipe_params(("a", "b"))


def test_a_recipe_of_a_missing_backbone_moves_to_the_first():
    recipe = {"backbone": "a", "optimizer": "adam"}
    assert space(recipe).recipe_params(["c", "b"]) == [{"backbone": "c", "optimizer": "adam"}]
    assert space(recipe).recipe_params(["b", "a"]) == [recipe]
