"""The trials that a search tries first."""

import dataclasses
import math
import re

import pytest

from search_spaces.space import load_space
from tests.tuning.study.driver import METRIC, Driver
from trainables.core.errors import UserError
from trainables.core.metric_names import Objective
from tuning.search.first_trials import MOST, PER_SEARCH, enqueue_first_trials, warm_start
from tuning.search.plan import Plan
from tuning.study.identity import check_identity
from tuning.study.storage.open_study import open_study, study_storage


def suggest(trial, backbones):
    trial.suggest_float("lr", 0.0, 1.0)
    trial.suggest_categorical("backbone", list(backbones))
    return {}


def suggest_config(trial, backbones):
    lr, backbone = trial.suggest_float("lr", 0.1, 1.0), trial.suggest_categorical("backbone", list(backbones))
    return {"backbone": backbone, "head": "linear", "optimizer": "adamw", "lr": lr, "batch_size": 8}


def recipe():
    return {"lr": 0.5, "backbone": "a"}


@pytest.fixture
def plan():
    space = dataclasses.replace(load_space("demo_space"), suggest=suggest, recipes=(recipe,))
    return Plan(space, ("a", "b"), "random", 32, 9, Objective(METRIC), True, 0)


@pytest.fixture
def earlier(tmp_path):
    """Return a function that makes an earlier search whose completed trials have the given scores."""

    def make(name, *scores, task="classification", metric=METRIC):
        folder = tmp_path / name
        folder.mkdir()
        driver = Driver(folder, num_samples=len(scores), name=name)
        driver.study.set_user_attr("identity", {"metric": metric})
        driver.steering.configure = lambda trial: {"lr": trial.suggest_float("lr", 0.0, 1.0), "task": task}
        driver.study.pruner = open_study(study_storage(folder, None), "x", Objective(METRIC), 9, 0, False).pruner
        for place, score in enumerate(scores):
            driver.study.enqueue_trial({"lr": place / 10})
            driver.run(lambda number, score=score: score)
        return str(tmp_path)

    return make


def open_in(folder):
    return open_study(study_storage(folder, None), "search", Objective(METRIC), 9, seed=0)


def waiting(study):
    return [trial.system_attrs["fixed_params"] for trial in study.trials if trial.state.name == "WAITING"]


def test_the_best_trials_of_all_searches_come_in_turn(plan, earlier):
    earlier("search", 0.1, 0.9, 0.5, 0.7)
    storage = earlier("second", *[0.0] * 7, 0.1, 0.2)
    params = warm_start(["search", "second"], plan, storage, None)
    assert params == [{"lr": pytest.approx(lr), "backbone": "a"} for lr in (0.1, 0.8, 0.3, 0.7, 0.2, 0.0)]
    assert len(params) == 2 * PER_SEARCH <= MOST


def test_trials_that_lack_folds_are_left_out(plan, earlier, tmp_path):
    storage = earlier("search", 0.1, 0.9)
    driver = Driver(tmp_path / "search", num_samples=3, name="search")
    driver.study.set_user_attr("identity", {"metric": METRIC, "cv-folds": 9})
    trial_id, _ = driver.start()
    driver.steering.deadline = -math.inf
    driver.report(trial_id, 1, 0.95)
    driver.searcher.on_trial_complete(trial_id)
    assert [one["lr"] for one in warm_start(["search"], plan, storage, None)] == [0.1, 0.0]
    driver.study.set_user_attr("identity", {"metric": METRIC, "cv-folds": 10})
    with pytest.raises(UserError, match="a trial that has finished all 10 folds, but 'search' has none"):
        warm_start(["search"], plan, storage, None)


def test_a_folder_names_a_search(plan, earlier, tmp_path):
    earlier("search", 0.1, 0.9)
    assert warm_start([str(tmp_path / "search")], plan, "elsewhere", None)[0]["lr"] == 0.1


def test_a_name_in_the_storage_precedes_a_folder_of_that_name(plan, earlier, tmp_path, monkeypatch):
    storage = earlier("search", 0.1, 0.9)
    (tmp_path / "elsewhere" / "search").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert warm_start(["search"], plan, storage, None)[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ((), {}, "--warm-start needs a search with a trial that has ended, but 'search' has none"),
        ((0.5,), {"task": "segmentation"}, "same task, classification, but 'search' is a segmentation"),
    ],
)
def test_an_unusable_search_is_refused(plan, earlier, scores, options, message):
    storage = earlier("search", *scores, **options)
    with pytest.raises(UserError, match=re.escape(message)):
        warm_start(["search"], plan, storage, None)


def test_a_search_without_a_common_parameter_is_refused(plan, earlier):
    """Each of its trials would become the middle of the space."""

    def suggest_other(trial, backbones):
        return {"learning_rate": trial.suggest_float("learning_rate", 0.0, 1.0)}

    storage = earlier("search", 0.1, 0.9)
    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, suggest=suggest_other))
    with pytest.raises(
        UserError, match="needs a search with a parameter of .*, such as learning_rate, but .* with lr: "
    ):
        warm_start(["search"], plan, storage, None)


@pytest.mark.parametrize("name", ["nowhere", "a" * 5000, "\0", "\ud800", "..", ""])
def test_a_missing_search_is_refused(plan, tmp_path, name):
    with pytest.raises(UserError, match="--warm-start must name a search in --storage, or its folder, but got "):
        warm_start([name], plan, str(tmp_path), None)


def test_warm_trials_precede_the_portfolio_and_the_recipes_without_repeats(plan, tmp_path):
    portfolio = tuple({"lr": lr, "backbone": "b"} for lr in (0.1, 0.2, 0.3))
    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, portfolio=portfolio))
    study = open_in(tmp_path)
    enqueue_first_trials(study, plan, 4, [{"lr": 0.9, "backbone": "a"}, {"lr": 0.2, "backbone": "b"}])
    # At most half of four trials are the portfolio's.
    assert [(one["lr"], one["backbone"]) for one in waiting(study)] == [(0.9, "a"), (0.2, "b"), (0.1, "b"), (0.5, "a")]
    assert [trial.user_attrs["origin"] for trial in study.trials] == ["warm start"] * 2 + ["portfolio", "recipe"]


def test_recipes_take_turns_with_the_sampler(plan, tmp_path):
    recipes = tuple(lambda lr=lr: {"lr": lr, "backbone": "a"} for lr in (0.5, 0.6, 0.7))
    portfolio = ({"lr": 0.1, "backbone": "b"},)
    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, recipes=recipes, portfolio=portfolio))
    study = open_in(tmp_path)
    enqueue_first_trials(study, plan, 4, [])
    assert [one.get("lr") for one in waiting(study)] == [0.1, 0.5, None, 0.6, None, 0.7]
    origins = ["portfolio", "recipe", "sampler", "recipe", "sampler", "recipe"]
    assert [trial.user_attrs["origin"] for trial in study.trials] == origins
    for lr in (0.1, 0.5, None, 0.6):
        trial = study.ask()
        suggest(trial, "ab")
        assert trial.params["lr"] == lr or lr is None
    enqueue_first_trials(open_in(tmp_path), plan, 4, [])
    assert [one.get("lr") for one in waiting(open_in(tmp_path))] == [None, 0.7]


def test_a_dry_run_shows_the_trials_that_a_search_tries_first(plan, tmp_path):
    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, suggest=suggest_config))
    warm = [{"lr": 0.9, "backbone": "a"}, {"lr": 0.5, "backbone": "a"}]
    study = open_in(tmp_path)
    enqueue_first_trials(study, plan, 3, warm)
    assert plan.samples(3, 3, warm)[:2] == [plan.configure(study.ask()) for _ in range(2)]
    assert [config["lr"] for config in plan.samples(3, 3, warm)[:2]] == [0.9, 0.5]


def test_a_resumed_search_keeps_its_first_trials(plan, tmp_path):
    enqueue_first_trials(open_in(tmp_path), plan, 4, [{"lr": 0.9, "backbone": "a"}])
    again = open_in(tmp_path)
    enqueue_first_trials(again, plan, 40, [{"lr": 0.8, "backbone": "b"}])
    assert [one["lr"] for one in waiting(again)] == [0.9, 0.5]


def test_a_driver_killed_between_saving_and_enqueueing_loses_nothing(plan, tmp_path):
    study = open_in(tmp_path)
    params = [{"lr": 0.9, "backbone": "a"}, {"lr": 0.5, "backbone": "a"}]
    study.set_user_attr("first trials", [{"params": one, "origin": "recipe"} for one in params])
    study.enqueue_trial({"lr": 0.9, "backbone": "a"})
    enqueue_first_trials(study, plan, 4, [])
    assert [one["lr"] for one in waiting(study)] == [0.9, 0.5]


def test_a_search_whose_first_trials_were_saved_without_origins_is_resumed(plan, tmp_path):
    study = open_in(tmp_path)
    study.set_user_attr("first trials", [{"lr": 0.9, "backbone": "a"}])
    enqueue_first_trials(study, plan, 4, [])
    assert [one["lr"] for one in waiting(study)] == [0.9]
    assert study.trials[0].user_attrs["origin"] == "recipe"


def test_a_search_of_an_older_version_gets_no_portfolio_in_the_middle(plan, tmp_path):
    plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, portfolio=({"lr": 0.1, "backbone": "b"},)))
    study = open_in(tmp_path)
    study.enqueue_trial(recipe())
    enqueue_first_trials(study, plan, 40, [])
    assert [one["lr"] for one in waiting(study)] == [0.5]


def test_a_resumed_search_must_keep_its_warm_start(tmp_path):
    study = open_in(tmp_path)
    check_identity(study, {"warm-start": ["a"]})
    check_identity(study, {"warm-start": ["a"]})
    with pytest.raises(UserError, match=re.escape("must keep its --warm-start, but ['a'] became None")):
        check_identity(study, {"warm-start": None})
