"""Whole searches by the command, with the study in PostgreSQL, MLflow with passwords, and artifacts in a bucket."""

import json
import os
import subprocess
import sys

import optuna
import pytest
from mlflow import MlflowClient

from tests.searches import (
    SMALL,
    check_nothing_lost,
    command,
    environment,
    killed_search,
    search,
    start_search,
)
from tests.tracking.conftest import BUCKET_ENVIRONMENT

pytestmark = pytest.mark.tracking
TRIALS, EPOCHS = 3, 3
POINTS = ["metrics sent, not acknowledged", "model logged, not saved in the study"]
FREEZING = """
from dataclasses import replace
from search_spaces.demo_space import SPACE, suggest
def frozen(trial, backbones):
    return {**suggest(trial, backbones), "freeze_depth": 2}
SPACE = replace(SPACE, suggest=frozen)
"""
PREDICT = """
import json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict([open(file, "rb").read() for file in sys.argv[2:]])
print(json.dumps([list(answer), answer.values.tolist()]))
"""


def arguments(study_url, tracking):
    return ["demo_space", "--data", "data", *SMALL, "--num-samples", TRIALS, "--study-storage", study_url,
            "--tracking-uri", tracking]  # fmt: skip


def check(study_url, tracking):
    study = optuna.load_study(study_name="demo_space", storage=study_url)
    parent = check_nothing_lost(study, tracking, "demo_space", TRIALS, EPOCHS)
    versions = MlflowClient(tracking).search_model_versions("name = 'demo_space'")
    (version,) = [version for version in versions if version.run_id == parent.info.run_id]
    return parent, version


def test_a_search_ends_in_the_bucket_and_the_registry(folder, study_url, demo_experiment, bucket):
    search(folder, *arguments(study_url, demo_experiment))
    parent, version = check(study_url, demo_experiment)
    keys = [item.key for item in bucket.objects.all()]
    assert any(f"/{parent.info.run_id}/artifacts/ensemble.json" in key for key in keys)
    assert any(key.endswith(".safetensors") for key in keys)
    assert not (folder / "results" / "demo_space" / "study.journal").exists()
    files = sorted((folder / "data").rglob("*.png"))
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, f"models:/demo_space/{version.version}", *files],
        cwd=folder, env=os.environ | {"MLFLOW_TRACKING_URI": demo_experiment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, probabilities = json.loads(done.stdout.splitlines()[-1])
    assert names == ["few", "many", "some", "unlike_training", "unlike_score"]
    assert [sum(row[:-2]) for row in probabilities] == pytest.approx([1] * len(files), abs=1e-5)


def test_checkpoints_can_be_stored_in_a_bucket(folder, study_url, demo_experiment, bucket, monkeypatch):
    """As in cluster.yaml, with frozen stages, which are stored separately, and a second session."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.meta.client.meta.endpoint_url)
    monkeypatch.setenv("HOME", str(folder))  # the local part of such a search is stored there
    for name, value in BUCKET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (folder / "freezing.py").write_text(FREEZING)
    asked = ["freezing.py", *arguments(study_url, demo_experiment)[1:], "--storage", f"s3://{bucket.name}/searches"]
    start_search(folder, *asked, reports=2).kill()
    search(folder, *asked, "--resume")
    check(study_url, demo_experiment)
    keys = [item.key for item in bucket.objects.filter(Prefix="searches/demo_space")]
    assert sum(key.endswith("/frozen.safetensors") for key in keys) == TRIALS  # each trial has its own random weights
    assert {key.split("/")[2] for key in keys} >= {"session-001", "session-002"}


def test_two_users_write_to_one_experiment_and_one_model(tracking, as_another):
    client = MlflowClient(tracking)
    experiment = client.create_experiment("shared")
    client.create_registered_model("shared")
    as_another()
    run = MlflowClient(tracking).create_run(experiment)
    version = MlflowClient(tracking).create_model_version("shared", run.info.artifact_uri, run.info.run_id)
    MlflowClient(tracking).set_registered_model_alias("shared", "champion", version.version)
    assert client.get_model_version_by_alias("shared", "champion").run_id == run.info.run_id


@pytest.mark.parametrize("password", ["", "a wrong one"])
def test_a_search_without_mlflows_password_is_refused_in_one_line(folder, study_url, tracking, monkeypatch, password):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    done = subprocess.run(
        command(*arguments(study_url, tracking)), cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in done.stderr.splitlines()[-1]
    assert optuna.get_all_study_summaries(study_url) == []


def test_a_search_without_the_databases_password_is_refused_in_one_line(folder, study_url, tracking, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")
    done = subprocess.run(
        command(*arguments(study_url, tracking)), cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "--study-storage must be the URL of a database that can be reached" in done.stderr


@pytest.mark.parametrize("point", POINTS)
def test_a_driver_killed_at_a_named_point_is_resumed(folder, study_url, demo_experiment, point):
    killed_search(folder, point, 1, *arguments(study_url, demo_experiment))
    search(folder, *arguments(study_url, demo_experiment), "--resume")
    parent, _ = check(study_url, demo_experiment)
    assert "test_balanced_accuracy" in parent.data.metrics
