"""Registered ensembles and members that load on their own, on a real SQLite store."""

import base64
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from analysis.ensembles.result import Registration
from analysis.registry import Entrant, fetched_model, history, log_member, register_ensemble, write_card
from analysis.registry.model_card import HEADING
from analysis.registry.model_files import save_model_files
from analysis.trials import EpochRecord
from tests.analysis.registry.cards import made_up_card
from tests.images import png
from tests.slim_environment import required, slim_environment
from trainables.core.config import TrainConfig
from trainables.core.errors import DataError, UserError
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble_files import ensemble_digest, ensemble_folder, open_ensemble
from trainables.core.serving.operating_point import OperatingPoint
from trainables.core.serving.predict_classes import extract_features, trained_classifier
from trainables.core.serving.training_features import TrainingFeatures
from trainables.core.training.fit import fit

NAMES = ("few", "many", "some")
METADATA = {"trials": [0], "metric": "accuracy", "select_score": 0.5, "select_fingerprint": "a"}
REPORT = EpochRecord(1, {"best_accuracy": 0.5, "tune/loss": 1.0}, 1_700_000_000_000, "")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 20), dtype=np.uint8)


@pytest.fixture(scope="module")
def checkpoint(small_data):
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    config = TrainConfig.from_dict(base | {"image_size": 16, "batch_size": 16, "epochs": 1, "device": "cpu"})
    return Checkpoint(next(fit(config, small_data)).state, config, NAMES, small_data.pixel_format, {})


@pytest.fixture(scope="module")
def registered(checkpoint, tmp_path_factory):
    """A store with a parent run, a child run, and the model ``brains`` whose version 1 is the champion."""
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("brains", artifact_location=str(folder / "artifacts"))
    parent, child = (client.create_run(experiment).info.run_id for _ in range(2))
    entrant = Entrant([[checkpoint]], Combination.of(np.ones(1)), "none", METADATA)
    registered = [register_ensemble(uri, parent, "brains", entrant) for _ in range(2)]
    assert [each.version for each in registered] == ["1", "1"]
    with fetched_model(uri, "models:/brains/1") as fetched:
        assert {each.sha256 for each in registered} == {ensemble_digest(ensemble_folder(fetched))}
    (champion,) = history(uri, "brains")
    assert (champion.version, champion.previous, champion.by) == ("1", None, "tune-run")
    return uri, client, parent, child


@pytest.mark.slow
@pytest.mark.parametrize(("late", "with_champion"), [("worse", True), ("worse", False), ("better", False)])
def test_of_two_searches_that_end_together_the_better_is_champion(
    checkpoint, tmp_path, monkeypatch, late, with_champion
):
    """One has decided to become champion when the other registers and settles; then it writes the alias.

    Takes 5 to 15 s each, because two or three real models are registered.
    """
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("brains", artifact_location=str(tmp_path / "artifacts"))

    def end(score):
        metadata = METADATA | {"select_score": score}
        entrant = Entrant([[checkpoint]], Combination.of(np.ones(1)), "none", metadata)
        return register_ensemble(uri, client.create_run(experiment).info.run_id, "brains", entrant)

    if with_champion:
        end(0.5)
    scores = {"worse": 0.7, "better": 0.8}
    set_alias, others = MlflowClient.set_registered_model_alias, [score for score in scores if score != late]
    ended = {}

    def set_after_the_other(self, name, alias, version):
        if others:
            other = others.pop()
            ended[other] = end(scores[other])
        set_alias(self, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_after_the_other)
    ended[late] = end(scores[late])
    champion = client.get_model_version_by_alias("brains", "champion").version
    assert str(champion) == ended["better"].version
    assert ended["better"].alias == "champion"
    assert ended[late].alias == ("champion" if late == "better" else "challenger")


@pytest.mark.slow
def test_other_thresholds_make_another_version(checkpoint, tmp_path):
    """Members, rule and score are the same; the champion stays, and each version decides at its own threshold."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    run = client.create_run(
        client.create_experiment("brains", artifact_location=str(tmp_path / "artifacts"))
    ).info.run_id
    thresholds = {"1": 0.4, "2": 0.2}
    for version, threshold in thresholds.items():
        point = OperatingPoint("few", 0, False, threshold, "youden")
        entrant = Entrant([[checkpoint]], Combination("mean", (1.0,), (1.0,), points=(point,)), "none", METADATA)
        registered = [register_ensemble(uri, run, "brains", entrant) for _ in range(2)]
        assert {each.version for each in registered} == {version}
        assert registered[0].alias == {"1": "champion", "2": "challenger"}[version]
    for version, threshold in thresholds.items():
        with fetched_model(uri, f"models:/brains/{version}") as model:
            assert open_ensemble(ensemble_folder(model)).combination.points[0].threshold == threshold


def test_a_search_that_dies_after_it_wrote_a_stale_alias_leaves_no_worse_champion(checkpoint, tmp_path, monkeypatch):
    """It is repaired by whatever registers next: another search, or the same one on --resume.

    Takes 5 to 15 s, because three real models are registered.
    """
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("brains", artifact_location=str(tmp_path / "artifacts"))
    runs = [client.create_run(experiment).info.run_id for _ in range(3)]

    def end(run, score):
        entrant = Entrant([[checkpoint]], Combination.of(np.ones(1)), "none", METADATA | {"select_score": score})
        return register_ensemble(uri, runs[run], "brains", entrant)

    set_alias = MlflowClient.set_registered_model_alias

    def die_with_a_stale_alias(self, name, alias, version):
        monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_alias)
        assert end(0, 0.8).alias == "champion"
        set_alias(self, name, alias, version)
        raise KeyboardInterrupt

    def champion():
        return str(client.get_model_version_by_alias("brains", "champion").version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", die_with_a_stale_alias)
    with pytest.raises(KeyboardInterrupt):
        end(1, 0.7)
    assert champion() == "1"  # the worse one
    assert end(2, 0.6).alias == "challenger"
    assert champion() == "2"
    set_alias(client, "brains", "champion", "1")
    assert end(1, 0.7).alias == "challenger"
    assert champion() == "2"


def expected(uri, images):
    with fetched_model(uri, "models:/brains@champion") as folder:
        return open_ensemble(ensemble_folder(folder)).predict(images).to_numpy()


def test_a_member_loads_on_its_own_and_is_logged_once(registered, checkpoint):
    uri, client, _, child = registered
    client.log_metric(child, "tune/loss", 1.0, REPORT.time_ms, 1)  # as the outbox sent it
    client.set_terminated(child, "KILLED")
    ended = client.get_run(child).info.end_time
    for _ in range(2):
        log_member(uri, child, REPORT, Entrant([[checkpoint]], Combination.of(np.ones(1)), "none", {"trial": 0}))
    experiment = client.get_run(child).info.experiment_id
    (model,) = client.search_logged_models([experiment], f"source_run_id = '{child}'")
    assert (str(model.status), model.name) == ("READY", "model")
    assert {metric.key: metric.value for metric in model.metrics} == REPORT.metrics
    assert len(client.get_metric_history(child, "tune/loss")) == 1
    assert (client.get_run(child).info.status, client.get_run(child).info.end_time) == ("KILLED", ended)
    answer = mlflow.pyfunc.load_model(f"runs:/{child}/model").predict([png(image) for image in PIXELS])
    np.testing.assert_allclose(answer, expected(uri, list(PIXELS)), atol=1e-6)
    with fetched_model(uri, f"runs:/{child}/model") as folder:
        assert open_ensemble(ensemble_folder(folder)).class_names == NAMES


def test_the_signature_has_every_column_that_the_model_returns(checkpoint, small_data, tmp_path):
    features = extract_features(
        trained_classifier(checkpoint, torch.device("cpu")), small_data.images(16), np.arange(9)
    )
    known = TrainingFeatures.of([features], [features], np.arange(9))
    for kind, training_features in ((None, None), (small_data.kind, None), (None, known), (small_data.kind, known)):
        members = [[dataclasses.replace(checkpoint, kind=kind)]]
        folder = tmp_path / f"{kind is None}-{training_features is None}"
        entrant = Entrant(members, Combination.of(np.ones(1)), "none", {}, training_features=training_features)
        signature = save_model_files(folder, entrant)["signature"]
        columns = open_ensemble(folder).predict(list(PIXELS)).columns
        assert signature.outputs.input_names() == list(columns)
        assert ("unlike_training" in columns) == (kind is not None or training_features is not None)
        assert ("unlike_score" in columns) == (training_features is not None)


def test_the_champion_answers_per_patient(registered):
    uri, *_ = registered
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/brains@champion")
    images = pd.DataFrame({"image": [png(image) for image in PIXELS]})
    by_image = model.predict(images)[list(NAMES)]
    found = model.predict(images, params={"patients": ["q", "p", "q"]})
    assert found["patient"].tolist() == ["q", "p"]
    assert found["images"].tolist() == [2, 1]
    np.testing.assert_allclose(found[list(NAMES)], [by_image.iloc[[0, 2]].mean(), by_image.iloc[1]], atol=1e-6)
    pd.testing.assert_frame_equal(model.predict(images.assign(patient=["q", "p", "q"])), found)
    with pytest.raises(DataError, match="one called patient, but has 2: image, patient_id"):
        model.predict(images.assign(patient_id=["q", "p", "q"]))
    np.testing.assert_allclose(model.predict(list(PIXELS))[list(NAMES)], by_image, atol=1e-6)


def test_a_member_that_an_earlier_driver_began_keeps_its_id(registered, checkpoint):
    uri, client, parent, _ = registered
    experiment = client.get_run(parent).info.experiment_id
    run_id = client.create_run(experiment).info.run_id
    begun = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_outputs(run_id, [LoggedModelOutput(begun.model_id, 1)])
    log_member(uri, run_id, REPORT, Entrant([[checkpoint]], Combination.of(np.ones(1)), "none", {"trial": 1}))
    (model,) = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    assert (model.model_id, str(model.status)) == (begun.model_id, "READY")
    with fetched_model(uri, f"runs:/{run_id}/model") as folder:
        assert ensemble_folder(folder)


@pytest.mark.parametrize(
    "model", ["models:/other@champion", "models:/brains/9", "models:/brains@nobody", "runs:/0/model"]
)
def test_a_missing_model_is_a_usage_error(registered, model):
    with (
        pytest.raises(UserError, match=f"MODEL must be in MLflow, but {model} is not: "),
        fetched_model(*registered[:1], model),
    ):
        pass


def test_pages_get_the_card_and_a_persons_text_stays(registered):
    uri, client, *_ = registered
    card = made_up_card("brains", Registration("1", "champion", "no version was the champion before"))
    for _ in range(2):
        write_card(uri, card)
        version = client.get_model_version("brains", "1")
        assert version.description == client.get_registered_model("brains").description == card.description()
        assert version.description.startswith(HEADING)
        assert card.tags().items() <= version.tags.items()
    client.update_registered_model("brains", description="mine")
    write_card(uri, card)
    assert client.get_registered_model("brains").description == "mine"


def test_a_page_keeps_its_test_scores_if_the_same_ensemble_is_registered_without_them(registered):
    """``tune-ensemble --register`` may choose what the search has registered and scored."""
    uri, client, *_ = registered
    card = made_up_card("brains", Registration("1", "champion", "no version was the champion before"))
    unscored = dataclasses.replace(card, evaluation=None)
    client.update_model_version("brains", "1", description="")
    for written, shown in ((unscored, unscored), (card, card), (unscored, card)):
        write_card(uri, written)
        assert client.get_model_version("brains", "1").description == shown.description()


@pytest.fixture
def served(registered, tmp_path):
    """The URL of a server that has the packages of the model's own requirements, and no others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Without this repository on its path: what the server runs is what was stored.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with fetched_model(registered[0], "models:/brains@champion") as model, (tmp_path / "serve.log").open("w") as log:
        python = slim_environment(tmp_path / "slim", (model / "requirements.txt").read_text().splitlines())
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"  # MLflow calls uvicorn
        process = subprocess.Popen(
            [python, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)],
            cwd=tmp_path, stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "serve.log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def ask(url, body, columns=NAMES):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        table = json.load(answer)["predictions"]
    assert all(list(row) == list(columns) for row in table)
    return np.array([list(row.values()) for row in table])


@pytest.mark.slow
@pytest.mark.e2e
def test_the_champion_answers_for_json_and_base64(registered, served):
    right = expected(registered[0], list(PIXELS))
    encoded = [base64.b64encode(png(image)).decode() for image in PIXELS]
    nested = PIXELS.tolist()
    for body in (
        {"dataframe_split": {"columns": ["image"], "data": [[image] for image in encoded]}},
        {"inputs": encoded},
        {"instances": encoded},
        {"dataframe_split": {"columns": ["image"], "data": [[image] for image in nested]}},
        {"dataframe_records": [{"image": image} for image in nested]},
        {"instances": [{"image": image} for image in nested]},
        {"instances": [{"image": image} for image in np.repeat(PIXELS[..., None], 3, axis=3).tolist()]},
        {"inputs": nested},
        {"instances": np.repeat(PIXELS[..., None], 3, axis=3).tolist()},
    ):
        np.testing.assert_allclose(ask(served, body), right, atol=1e-6)
    records = [{"image": image, "patient": "q"} for image in encoded]
    for body in (
        {"inputs": encoded, "params": {"patients": ["q", "q", "q"]}},
        {"inputs": records},
        {"instances": records},
        {"dataframe_records": records},
        {"dataframe_split": {"columns": ["patient", "image"], "data": [["q", image] for image in encoded]}},
    ):
        of_patients = ask(served, body, ("patient", *NAMES, "images"))
        assert len(of_patients) == 1
        np.testing.assert_allclose(of_patients[0, 1:-1].astype(float), right.mean(axis=0), atol=1e-6)
    for body in (
        {"dataframe_records": [{"image": image, "patient_id": "q"} for image in encoded]},
        {"dataframe_split": {"data": PIXELS[0].tolist()}},  # rows of pixels
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(served, body)
        assert "must " in refused.value.read().decode()


def test_a_classifier_requires_nothing_that_only_training_uses(registered):
    with fetched_model(registered[0], "models:/brains@champion") as model:
        names = set(required((model / "requirements.txt").read_text().splitlines()))
    training = {"albumentations", "mlflow", "optuna", "ray", "scikit-learn"}
    assert not names & {*training, "opencv-python-headless", "scipy", "segmentation-models-pytorch"}
    assert {"torch", "timm", "mlflow-skinny"} <= names


@pytest.mark.slow
def test_a_model_runs_in_a_fresh_process_from_its_own_copy_of_the_code(registered, tmp_path):
    uri, *_ = registered
    code = """
import json, sys
from pathlib import Path
code, ensemble, image, same, changed = sys.argv[1:]
sys.path.insert(0, code)
from trainables.core.serving.ensemble import _load_pyfunc
rows = _load_pyfunc(ensemble).predict([Path(image).read_bytes()]).values.tolist()
ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "trainables"]
others = {"analysis", "mlflow", "optuna", "ray", "search_spaces", "tuning"} & set(sys.modules)
print(json.dumps([rows, all(file.startswith(code) for file in ours), sorted(others)]))
for other in same, changed:
    try:
        _load_pyfunc(str(Path(other) / "data" / "ensemble"))
    except Exception as error:
        print(other, error)
"""
    (tmp_path / "image.png").write_bytes(png(PIXELS[0]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with fetched_model(uri, "models:/brains@champion") as folder:
        for name in ("same", "changed"):
            shutil.copytree(folder, tmp_path / name)
        with (tmp_path / "changed" / "code" / "trainables" / "core" / "seeds.py").open("a") as changed:
            changed.write("# another version\n")
        copies = tmp_path / "same", tmp_path / "changed"
        paths = folder / "code", ensemble_folder(folder), tmp_path / "image.png", *copies
        command = [sys.executable, "-c", code, *map(str, paths)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *failures = done.stdout.splitlines()
    rows, from_the_copy, others = json.loads(first)
    (failure,) = failures
    assert failure.startswith(f"{tmp_path / 'changed'} this process runs the code of another model")
    assert failure.endswith("load each of the two models in a process of its own")
    np.testing.assert_allclose(rows, expected(uri, [PIXELS[0]]), atol=1e-6)
    assert (from_the_copy, others) == (True, [])
