"""From a search to a server: prediction, evaluation, ONNX and the server give the same numbers for the same images.

The server runs in an environment into which pip installs the model's requirements. PyTorch and its CUDA libraries are
among them: that takes minutes, and gigabytes.
"""

import base64
import csv
import importlib.metadata
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, log_loss

from tests.images import write_classes
from tests.searches import SMALL, search
from tests.services import Service

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]  # pip downloads gigabytes
CHAMPION = "models:/demo_space@champion"
NAMES = ("few", "many", "some")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with a finished search, and images of another seed that its champion has scored."""
    folder = tmp_path_factory.mktemp("whole_way")
    write_classes(folder / "data", {"few": 24, "many": 80, "some": 40})
    write_classes(folder / "elsewhere", {"few": 12, "many": 30, "some": 20}, seed=1)
    search(folder, "demo_space", "--data", "data", *SMALL, "--num-samples", 3)
    search(folder, CHAMPION, "elsewhere", "--out", "predictions.csv", module="tuning.cli.predict")
    return folder


@pytest.fixture(scope="module")
def predicted(searched):
    """Files, and their (N, C) probabilities as ``tune-predict`` wrote them."""
    with (searched / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [searched / row["file"] for row in rows], np.array([[float(row[name]) for name in NAMES] for row in rows])


def test_an_evaluation_scores_the_same_predictions(searched, predicted):
    search(searched, CHAMPION, "elsewhere", "--json", "evaluation.json", module="tuning.cli.evaluate")
    scores = json.loads((searched / "evaluation.json").read_text())["evaluation"]["ensemble"]["metrics"]
    files, probabilities = predicted
    labels = [NAMES.index(file.parent.name) for file in files]
    normalized = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32, as text
    chosen = probabilities.argmax(axis=1)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, chosen), abs=1e-9)
    assert scores["log_loss"] == pytest.approx(log_loss(labels, normalized), abs=1e-5)


def test_an_onnx_file_predicts_the_same(searched, predicted):
    search(searched, CHAMPION, "--onnx", "champion.onnx", module="tuning.cli.export")
    session = onnxruntime.InferenceSession(searched / "champion.onnx")
    files, expected = predicted
    images = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])[..., None]
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-4)


@pytest.fixture(scope="module")
def installed(searched):
    """The folder of the champion's files, and an environment with what its ``requirements.txt`` names."""
    mlflow.set_tracking_uri(f"sqlite:///{searched / 'mlflow.db'}")
    model = Path(mlflow.artifacts.download_artifacts(artifact_uri=CHAMPION, dst_path=str(searched / "model")))
    subprocess.run([sys.executable, "-m", "venv", searched / "serving"], check=True)
    pip = [searched / "serving/bin/python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--requirement", model / "requirements.txt"], check=True)
    return model, searched / "serving"


def test_a_server_with_only_the_models_requirements_predicts_the_same(searched, predicted, installed):
    model, environment = installed
    words = ["models", "serve", "-m", model, "--env-manager", "local", "--port", "PORT"]
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"  # MLflow calls uvicorn
    command = [environment / "bin/python", "-m", "mlflow", *words]
    server = Service(searched / "serve.log", command, "/ping", {"PATH": path, "PYTHONPATH": ""})
    server.start()
    try:
        files, expected = predicted
        body = json.dumps({"inputs": [base64.b64encode(file.read_bytes()).decode() for file in files]}).encode()
        request = urllib.request.Request(server.uri + "/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as response:
            rows = json.load(response)["predictions"]
        probabilities = [[row[name] for name in NAMES] for row in rows]
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)
        memory = sum(process.memory_info().rss for process in server.processes())
    finally:
        server.kill()
    (packages,) = environment.glob("lib/python*/site-packages")
    names = {distribution.name for distribution in importlib.metadata.distributions(path=[str(packages)])}
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"{len(names - {'pip', 'setuptools'})} packages, {size / 1e6:,.0f} MB, server's RSS {memory / 1e6:,.0f} MB")
    assert not names & {"albumentations", "mlflow", "optuna", "ray", "scikit-learn"}
