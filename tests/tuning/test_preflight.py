import dataclasses
import io

import pytest
from rich.console import Console

from search_spaces.space import load_space
from trainables.core.data.groups import Grouping
from trainables.core.errors import DataError
from tuning.preflight import checkpoint_bytes, identity, load_data
from tuning.search import Plan


@pytest.fixture
def plan():
    return Plan(load_space("demo_space"), ("scratch_cnn",), "random", 32, 3, "balanced_accuracy", None, True, 0)


def loaded(plan, place, store, monkeypatch):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(store))
    console = Console(file=io.StringIO(), width=100)
    data = load_data(
        place, plan, policies={"none"}, split="grouped", grouping=Grouping(), skip_bad_images=False, cache_size=None,
        console=console,
    )  # fmt: skip
    return data, console.file.getvalue()


def test_cross_validation_is_recommended_for_a_small_set_and_only_there(plan, small_data, monkeypatch):
    _, shown = loaded(plan, small_data.place, small_data.store, monkeypatch)
    assert "Note: a small set: tune has 2 groups of few, and there are 120 in all" in shown
    _, shown = loaded(dataclasses.replace(plan, folds=3), small_data.place, small_data.store, monkeypatch)
    assert "102 pool, 18 test (grouped split); 3 folds of 34 images" in shown
    assert "a small set" not in shown


def test_a_search_with_other_folds_is_another_search(plan, small_data, monkeypatch):
    about = {}
    for folds in (None, 2, 3):
        changed = dataclasses.replace(plan, folds=folds)
        data, _ = loaded(changed, small_data.place, small_data.store, monkeypatch)
        about[folds] = identity(changed, data, [])
        assert about[folds]["cv-folds"] == folds
    assert about[2]["test fingerprint"] == about[3]["test fingerprint"] == about[None]["test fingerprint"]
    assert about[2]["pool fingerprint"] != about[3]["pool fingerprint"]
    assert "select fingerprint" in about[None].keys() - about[2].keys()


def test_folds_need_groups(plan, small_data, monkeypatch):
    with pytest.raises(DataError, match="--cv-folds 60 needs two classes of 60 groups each"):
        loaded(dataclasses.replace(plan, folds=60), small_data.place, small_data.store, monkeypatch)


def test_a_trials_room_and_reports_are_those_of_its_folds(plan):
    assert (plan.steps, dataclasses.replace(plan, folds=5).steps) == (3, 5)
    models = [checkpoint_bytes(dataclasses.replace(plan, folds=folds), []) for folds in (None, 3, 6)]
    assert models[0] == models[1] == models[2] / 2  # Adam's moments are kept of no fold
