"""A soup of a whole search by the commands: chosen, scored, registered, served and exported like any other model."""

import csv
import re

import mlflow
import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from analysis.trials import read_trials
from tests.searches import load, search, tracked
from trainables.core.serving.ensemble_files import ensemble_folder, open_ensemble
from trainables.worker.checkpoint_io import read_models

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.slow]

BACKBONE = "mobilenetv3_small_050"
SPACE = f"""
from search_spaces.space import SearchSpace


def suggest(trial, backbones):
    lr = trial.suggest_float("lr", 1e-3, 3e-3, log=True)
    shared = {{"backbone": backbones[0], "optimizer": "adamw", "lr": lr, "batch_size": 16}}
    return {{**shared, "head": trial.suggest_categorical("head", ["linear", "mlp"])}}


def recipe(head, lr):
    return lambda: {{"head": head, "lr": lr}}


SPACE = SearchSpace(
    name="soup_space",
    title="close configurations",
    suggest=suggest,
    backbones=("{BACKBONE}",),
    recipes=tuple(map(recipe, ("mlp", "linear", "linear", "linear"), (2e-3, 1e-3, 2e-3, 3e-3))),
    data="data",
    weights="weights",
    image_size=32,
    epochs=4,
    healthy="few",
)
"""


def test_a_soup_is_one_network_that_another_process_and_another_runtime_serve(folder):
    (folder / "soup_space.py").write_text(SPACE)
    (folder / "weights").mkdir()
    torch.manual_seed(5)
    save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), folder / "weights" / f"{BACKBONE}.safetensors")
    options = ["--num-samples", 4, "--no-pruning", "--address", "local", "--no-report"]
    search(folder, "soup_space.py", *options)

    options = ["--soup", "--members", "0,1,2,3", "--open-test", "--register"]
    printed = search(folder, "soup_space", *options, module="tuning.cli.ensemble")
    assert "Left out of the soup: trial 0: its mlp head has hidden layers" in printed
    assert "opened 2 times" in printed
    assert re.search(r"Registered: models:/soup_space@\w+ \(version 2\)", printed)
    for split in ("select", "test"):
        assert f"balanced_accuracy on {split}" in printed

    uri = f"sqlite:///{folder}/mlflow.db"
    client, _, _ = tracked(uri, "soup_space")
    mlflow.set_tracking_uri(uri)
    metadata = mlflow.models.get_model_info("models:/soup_space/2").metadata
    assert metadata["rule"] == "greedy-soup"
    assert set(metadata["trials"]) <= {1, 2, 3}
    place = mlflow.artifacts.download_artifacts("models:/soup_space/2", dst_path=str(folder / "model"))
    saved = ensemble_folder(type(folder)(place))
    check_weights(folder, saved, metadata["trials"])
    if len(metadata["trials"]) > 1:
        page = client.get_model_version("soup_space", "2").description
        assert f"soup of trials {', '.join(map(str, metadata['trials']))}" in page

    files = sorted((folder / "data").rglob("*.png"))[::10]
    search(folder, "models:/soup_space/2", *files, "--out", "served.csv", module="tuning.cli.predict")
    with (folder / "served.csv").open(newline="") as opened:
        served = [[float(row[name]) for name in ("few", "many", "some")] for row in csv.DictReader(opened)]
    here = open_ensemble(saved, torch.device("cpu")).predict([file.read_bytes() for file in files])
    np.testing.assert_allclose(served, here[["few", "many", "some"]], atol=1e-6)

    search(folder, "models:/soup_space/2", "--onnx", "small.onnx", module="tuning.cli.export")
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])[..., None]
    (exported,) = onnxruntime.InferenceSession(folder / "small.onnx").run(None, {"images": pixels})
    np.testing.assert_allclose(exported, served, atol=1e-4)


def check_weights(folder, saved, trials):
    """Check that the one network has the mean weights of the trials, apart from the statistics of batch norm."""
    (member,) = saved.glob("member-*")
    weights = load_file(member / "state.safetensors")
    records = {record.number: record for record in read_trials(load(folder, "soup_space"))}
    parts = [read_models(records[number].best.checkpoint)[0].state.tensors for number in trials]
    averaged = [name for name in weights if ".running_" not in name and "num_batches" not in name]
    assert averaged
    for name in averaged:
        expected = np.mean([part[name].numpy() for part in parts], axis=0, dtype=np.float64)
        np.testing.assert_allclose(weights[name].numpy(), expected, rtol=1e-6, atol=1e-8)
