import dataclasses
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from search_spaces.segmentation_choices import network
from search_spaces.space import load_space
from tests.images import write_classes, write_pairs
from trainables.core.data.decode.crop import Regions
from trainables.core.errors import DataError
from trainables.core.metric_names import Objective
from tuning.search.data_request import DataRequest
from tuning.search.plan import Plan
from tuning.search.preflight import checkpoint_bytes, identity, load_data


@pytest.fixture
def plan():
    return Plan(load_space("demo_space"), ("scratch_cnn",), "random", 32, 3, Objective("balanced_accuracy"), True, 0)


def loaded(plan, place, store, monkeypatch):
    monkeypatch.setenv("TUNE_RUN_CACHE", str(store))
    console = Console(file=io.StringIO(), width=100)
    request = DataRequest(place, plan.seed, folds=plan.folds)
    data = load_data(request, plan, {"none"}, None, console)
    return data, console.file.getvalue()


def test_cross_validation_is_recommended_for_a_small_set_and_only_there(plan, small_data, monkeypatch):
    _, shown = loaded(plan, small_data.place, small_data.store, monkeypatch)
    assert "Note: small data set: tune has 2 groups of few, and there are 120 in all" in shown
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


def test_a_search_of_cut_images_is_another_search(plan, small_data):
    boxes = np.zeros((len(small_data.labels), 4), dtype=np.int32)
    cut = dataclasses.replace(small_data, regions=Regions(Path("lungs"), "1234", boxes))
    assert identity(plan, small_data, [])["roi"] is None
    assert identity(plan, cut, [])["roi"] == "1234"


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_data_of_the_other_task_are_refused_before_they_are_decoded(plan, tmp_path, monkeypatch, kind):
    write_classes(tmp_path / "classes", {"a": 4, "b": 4})
    write_pairs(tmp_path / "pairs", 4)
    monkeypatch.delattr("tuning.search.data_request.prepare")
    other = plan if kind == "pairs" else dataclasses.replace(plan, space=load_space("lung_segmentation_space"))
    with pytest.raises(DataError, match=f"{other.space.name} is a {other.space.task}, .* but .*{kind} holds those of"):
        loaded(other, str(tmp_path / kind), tmp_path / "store", monkeypatch)


def test_folds_need_groups(plan, small_data, monkeypatch):
    with pytest.raises(DataError, match="--cv-folds 60 needs two classes of 60 groups each"):
        loaded(dataclasses.replace(plan, folds=60), small_data.place, small_data.store, monkeypatch)


def test_a_trials_room_and_reports_are_those_of_its_folds(plan):
    assert (plan.steps, dataclasses.replace(plan, folds=5).steps) == (3, 5)
    models = [checkpoint_bytes(dataclasses.replace(plan, folds=folds), []) for folds in (None, 3, 6)]
    assert models[0] == models[1] == models[2] / 2  # Adam's moments are kept of no fold


def segmentation(suggest, backbones):
    space = dataclasses.replace(load_space("lung_segmentation_space"), suggest=suggest, recipes=())
    return Plan(space, backbones, "random", 32, 3, Objective("dice"), True, 0)


def test_every_network_that_a_segmentation_may_suggest_is_checked():
    architectures, backbones = ("unet", "fpn", "linknet"), ("mobilenetv3_small_050", "resnet10t")

    def suggest(trial, backbones):
        return {**network(trial, architectures, backbones), "optimizer": "adam", "lr": 1e-3, "batch_size": 4}

    found = segmentation(suggest, backbones).segmenters(count=2)
    assert sorted(found) == sorted(itertools.product(architectures, backbones))


def test_networks_that_no_branch_suggests_are_not_checked():
    def suggest(trial, backbones):
        architecture = trial.suggest_categorical("architecture", ["unet", "fpn"])
        own = architecture == "fpn"
        backbone = "resnet10t" if own else trial.suggest_categorical("backbone", list(backbones))
        return {"architecture": architecture, "backbone": backbone, "optimizer": "adam", "lr": 1e-3, "batch_size": 4}

    found = segmentation(suggest, ("mobilenetv3_small_050", "resnet18")).segmenters(count=20)
    assert sorted(found) == [("fpn", "resnet10t"), ("unet", "mobilenetv3_small_050"), ("unet", "resnet18")]


def test_a_classification_has_no_such_networks(plan):
    assert plan.segmenters(count=2) == []
