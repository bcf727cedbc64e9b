import dataclasses
import sys
from pathlib import Path

import optuna
import pytest

from search_spaces.nearest_params import portfolio_params
from search_spaces.portfolio import portfolio
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
        ({"top_k": 0}, "top_k must be a whole number of at least 1, but s has 0"),
        ({"top_k": 2.5}, "top_k must be a whole number of at least 1, but s has 2.5"),
        ({"num_samples": -5}, "num_samples must be a whole number of at least 1, but s has -5"),
        ({"num_samples": 10.0}, "num_samples must be a whole number of at least 1, but s has 10.0"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, but s has True"),
        ({"image_size": "64"}, "image_size must be a whole number of at least 1, but s has '64'"),
        ({"backbones": "scratch_cnn"}, r'backbones must be a tuple such as \("resnet18",\), but s has \'scratch_cnn\''),
        ({"backbones": ()}, "backbones must name at least one, but s has none"),
        ({"backbones": (18,)}, "backbones must be a tuple such as .*, but s has 18 in it"),
        ({"recipes": dict}, r"recipes must be a tuple such as \(published_baseline,\), but s has <class 'dict'>"),
        ({"recipes": ({"backbone": "a"},)}, "recipes must be a tuple .*, but s has {'backbone': 'a'} in it"),
        ({"portfolio": portfolio}, r"portfolio must be a tuple such as portfolio\(\), but s has <.*>"),
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


def out_of_range(trial, backbones):
    return {"lr": trial.suggest_float("lr", 0, 1, log=True)}


def without_a_key(trial, backbones):
    return {}["a"]


def pruned(trial, backbones):
    raise optuna.TrialPruned


def without_return(trial, backbones):
    pass


@pytest.mark.parametrize(
    ("suggest", "message"),
    [
        (out_of_range, r"suggest of s fails in .*test_space.py, line \d+: ValueError: .*log"),
        (without_a_key, r"suggest of s fails in .*test_space.py, line \d+: KeyError: 'a'"),
        (pruned, r"suggest of s fails in .*test_space.py, line \d+: TrialPruned"),
        (without_return, "suggest of s must return a dict, but returned None"),
        (lambda trial: {}, "suggest of s fails: TypeError: .* takes 1 positional argument but 2 were given"),
    ],
)
def test_a_mistake_in_suggest_is_named_with_its_line(suggest, message):
    broken = dataclasses.replace(space({}), suggest=suggest, portfolio=({"lr": 0.5},))
    study = optuna.create_study()
    for use in (
        lambda: broken.configuration(study.ask(), ("a",)),
        lambda: broken.recipe_params(("a",)),
        lambda: portfolio_params(broken, ("a",)),
    ):
        with pytest.raises(SpaceError, match=message):
            use()


def test_a_recipe_that_fails_is_named():
    with pytest.raises(SpaceError, match="recipe <lambda> of s fails: TypeError: 'int' object is not iterable"):
        space(7).recipe_params(("a", "b"))


def test_a_study_that_is_not_writable_is_no_mistake_in_suggest():
    def full_disk(trial, backbones):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        dataclasses.replace(space(), suggest=full_disk).configuration(optuna.create_study().ask(), ("a",))
