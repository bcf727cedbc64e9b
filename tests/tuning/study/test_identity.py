"""Messages about a search that would become another one on resume: the option or file, and both values."""

import warnings
from dataclasses import replace

import optuna
import pytest

from tests.tuning.search.test_space_contents import SPACE
from trainables.core.data.decode.nifti import Slicing
from trainables.core.data.splits.groups import Grouping
from trainables.core.errors import UserError
from tuning.search.space_contents import space_contents
from tuning.study.attributes import save_data_request
from tuning.study.data_request import DataRequest
from tuning.study.identity import check_identity

REQUEST = DataRequest("/scans", seed=0, grouping=Grouping(threshold=0.9))
IDENTITY = {
    "space": "mine",
    "images": {"few": 16, "many": 64},
    "data fingerprint": "a" * 64,
    "max-epochs": 3,
    "pruning": True,
    "tracking-uri": "sqlite:////a/mlflow.db",
    "test fingerprint": "b" * 64,
    "space contents": space_contents(SPACE, SPACE.backbones),
    "healthy": "normal",
    "patient fingerprint": "d" * 64,
}


@pytest.fixture
def study():
    study = optuna.create_study()
    check_identity(study, IDENTITY, REQUEST)
    save_data_request(study, REQUEST)
    return study


def narrower(trial, backbones):
    lr = trial.suggest_float("lr", 1e-4, 5e-3, log=True)
    with warnings.catch_warnings(action="ignore"):  # the name is taken
        return SPACE.suggest(trial, backbones) | {"lr": lr}


def deeper(trial, backbones):
    return SPACE.suggest(trial, backbones) | {"freeze_depth": 3}


def contents(suggest):
    return {"space contents": space_contents(replace(SPACE, suggest=suggest), SPACE.backbones)}


@pytest.mark.parametrize(
    ("identity", "request_", "message"),
    [
        ({"max-epochs": 5}, REQUEST, "its --max-epochs, but 3 became 5"),
        ({"pruning": False}, REQUEST, "its --pruning, but True became False"),
        (
            {"tracking-uri": "http://127.0.0.1:5000"},
            REQUEST,
            "its MLflow server (--tracking-uri, MLFLOW_TRACKING_URI), but 'sqlite:////a/mlflow.db' became 'http://127",
        ),
        (
            {"images": {"many": 64, "few": 16}},
            REQUEST,
            "its order of the classes (--ordered, --unordered), but ['few', 'many'] became ['many', 'few']",
        ),
        ({"images": {"few": 17, "many": 64}}, REQUEST, "its images in /scans: class few, but 16 became 17"),
        ({"images": {"few": 16}}, replace(REQUEST, place="/other"), "its --data, but '/scans' became '/other'"),
        ({"data fingerprint": "c" * 64}, REQUEST, "its images, but those in /scans have other contents: restore them"),
        ({"data fingerprint": "c"}, replace(REQUEST, window=(40, 400)), "its --window, but None became [40, 400]"),
        (
            {"data fingerprint": "c"},
            replace(REQUEST, slicing=Slicing(count=8)),
            "its --axis or --slices, but None became {'axis': 'axial', 'count': 8}",
        ),
        ({"test fingerprint": "c"}, replace(REQUEST, split="random"), "its --split, but 'grouped' became 'random'"),
        (
            {"test fingerprint": "c"},
            replace(REQUEST, grouping=Grouping(pattern="p")),
            "its --group-threshold, but 0.9 became None",
        ),
        ({"test fingerprint": "c"}, REQUEST, "its test split, but this version divides the same images differently"),
        (
            contents(narrower),
            REQUEST,
            "its mine space's parameter lr, but '0.0001 to 0.01, logarithmic' became '0.0001 to",
        ),
        ({"healthy": None}, REQUEST, "its space's healthy class, but 'normal' became None"),
        (
            {"patient fingerprint": "c"},
            replace(REQUEST, grouping=Grouping(threshold=0.9, usual_pattern="p")),
            "its space's group_pattern, but None became 'p'",
        ),
        ({"patient fingerprint": "c"}, REQUEST, "its patients, but those of /scans have changed: use the same groups"),
        (contents(deeper), REQUEST, "its mine space's configuration 0 freeze_depth, but 2 became 3"),
    ],
)
def test_a_refusal_names_what_changed(study, identity, request_, message):
    check_identity(study, IDENTITY, REQUEST)
    with pytest.raises(UserError) as refused:
        check_identity(study, IDENTITY | identity, request_)
    assert f"a resumed search must keep {message}" in str(refused.value)
    assert "cccc" not in str(refused.value)


def test_data_may_move(study):
    check_identity(study, IDENTITY, replace(REQUEST, place="/moved"))


def test_contents_that_an_older_version_did_not_save_are_not_compared():
    study = optuna.create_study()
    check_identity(study, {"space": "mine", "configurations": "0123"})
    new = {
        "images": {"a": 3},
        "space contents": {"parameter": {}},
        "healthy": "normal",
        "patient fingerprint": "d" * 64,
        "storage": "/results",
    }
    check_identity(study, {"space": "mine", **new})
