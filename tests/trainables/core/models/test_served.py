"""Models that were registered before the loader moved (tests/fixtures/registered_before_rooms)."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import trainables
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble

FIXTURES = Path(__file__).parents[3] / "fixtures" / "registered_before_rooms"


def unzip(name, folder):
    with zipfile.ZipFile(FIXTURES / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder


def images(name):
    return [(FIXTURES / f"{name}-{index}.png").read_bytes() for index in range(2)]


def check_probabilities(frame):
    recorded = json.loads((FIXTURES / "probabilities.json").read_text())
    assert list(frame.columns) == recorded["class_names"]
    np.testing.assert_allclose(frame.to_numpy(), recorded["probabilities"], rtol=0, atol=1e-6)


def check_masks(frame):
    for index, text in enumerate(frame["mask"]):
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        recorded = np.asarray(Image.open(FIXTURES / f"disc-{index}-mask.png"))
        assert recorded.any()
        # Another processor may round a pixel whose probability is close to 0.5 the other way.
        assert np.count_nonzero(mask != recorded) <= 2


MODELS = [("classification", "grey", check_probabilities), ("segmentation", "disc", check_masks)]


@pytest.mark.parametrize(("name", "image", "check"), MODELS)
def test_our_loader_predicts_as_before(tmp_path, name, image, check):
    model = open_ensemble(ensemble_folder(unzip(name, tmp_path)), torch.device("cpu"))
    check(model.predict(images(image)))


@pytest.mark.parametrize(("name", "image", "check"), MODELS)
def test_mlflow_loads_them_where_this_version_is_already_imported(tmp_path, name, image, check):
    folder = unzip(name, tmp_path / "model")
    loader = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]["loader_module"]
    assert loader == "trainables.core.models.served"
    assert sys.modules["trainables"] is trainables
    check(mlflow.pyfunc.load_model(str(folder)).predict(images(image)))


def test_the_former_module_imports_neither_mlflow_nor_ray():
    heavy = "{'mlflow', 'ray', 'optuna', 'datasets'}"
    code = f"import sys, trainables.core.models.served; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
