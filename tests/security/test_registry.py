"""A registry that breaks off at any step is never half written: what is registered loads, and once."""

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.registry import Entrant, fetched_model, register_ensemble
from tests.analysis.registry.test_registry import METADATA, NAMES, checkpoint  # noqa: F401
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble

pytestmark = pytest.mark.faults
STEPS = [
    "log_model_artifacts", "finalize_logged_model", "create_registered_model",
    "_create_model_version", "set_registered_model_alias", "set_model_version_tag",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    client = MlflowClient(uri)
    return uri, client, client.create_experiment("x", artifact_location=str(tmp_path_factory.mktemp("artifacts")))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_no_half(store, checkpoint, step, after, monkeypatch):  # noqa: F811
    uri, client, experiment = store
    name, run = f"brains-{step}-{after}", client.create_run(experiment).info.run_id
    entrant = Entrant([[checkpoint]], Combination.of(torch.ones(1).numpy()), "none", METADATA)
    reached, method = [], getattr(MlflowClient, step)

    def breaks(self, *arguments, **named):
        reached.append(step)
        if after:
            method(self, *arguments, **named)
        raise MlflowException(f"{step} broke off")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, step, breaks)
        with pytest.raises(MlflowException, match="broke off"):
            register_ensemble(uri, run, name, entrant)
    assert reached
    assert {_opened(uri, name, version.version) for version in _versions(client, name)} <= {NAMES}
    registered = register_ensemble(uri, run, name, entrant)
    assert [str(version.version) for version in _versions(client, name)] == [registered.version] == ["1"]
    assert str(client.get_model_version_by_alias(name, "champion").version) == "1"
    assert _opened(uri, name, "1") == NAMES


def _versions(client, name):
    return client.search_model_versions(f"name = '{name}'")


def _opened(uri, name, version):
    with fetched_model(uri, f"models:/{name}/{version}") as place:
        return open_ensemble(ensemble_folder(place), torch.device("cpu")).class_names


def teardown_module():
    mlflow.set_tracking_uri(None)
