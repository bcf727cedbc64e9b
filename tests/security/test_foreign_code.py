"""Our own commands run no code that comes with data, weights, checkpoints or models."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1
from typer.testing import CliRunner

from tests.images import png
from tests.searches import SMALL, environment
from tests.security.payload import Payload
from tests.trainables.core.data.readers.test_unlabelled import write_parquet
from tests.trainables.core.serving.test_score_images import folder as model  # noqa: F401
from trainables.core.data.decode.images import PixelFormat, decode
from trainables.core.data.readers.open_source import open_source
from trainables.core.errors import CheckpointError, DataError, WeightsError
from trainables.core.models.backbones.backbone import build_backbone
from trainables.core.node_cache import Store, map_array, write_array
from trainables.core.serving.ensemble_files import open_ensemble
from trainables.worker.checkpoint_io import read_models
from tuning.cli.predict import app


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "code-was-run"


@pytest.fixture
def poison(tmp_path, marker):
    """A file that runs code in whoever trusts it, as is shown first."""
    file = tmp_path / "poison"
    torch.save({"weights": Payload(marker)}, file)
    torch.load(file, weights_only=False)
    marker.rmdir()
    return file


def renamed_digest(folder, content):
    """Puts ``content`` where a checkpoint's tensors are, under its own digest."""
    (folder / "state.safetensors").write_bytes(content)
    meta = json.loads((folder / "state.json").read_text())
    meta["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "state.json").write_text(json.dumps(meta))


def test_a_poisoned_checkpoint_runs_nothing(model, tmp_path, poison, marker):  # noqa: F811
    checkpoint = tmp_path / "search" / "session" / "trial" / "checkpoint_000001"
    shutil.copytree(model / "member-0", checkpoint / "checkpoint")
    for name in (".tune_metadata", "dict_checkpoint.pkl", "state.pkl", "checkpoint.pt", ".metadata.json"):
        shutil.copy(poison, checkpoint / name)
        shutil.copy(poison, checkpoint / "checkpoint" / name)
    (read,) = read_models(str(checkpoint))
    assert read.class_names == ("few", "many", "some")
    for content in (poison.read_bytes(), Payload(marker).pickled()):
        renamed_digest(checkpoint / "checkpoint", content)
        with pytest.raises(CheckpointError, match="not a complete checkpoint"):
            read_models(str(checkpoint))
    assert not marker.exists()


def test_poisoned_weights_run_nothing(tmp_path, poison, marker):
    shutil.copy(poison, tmp_path / "squeezenet1_1.safetensors")
    for other in ("squeezenet1_1.pth", "squeezenet1_1.bin", "config.json"):
        shutil.copy(poison, tmp_path / other)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        build_backbone("torchvision:squeezenet1_1", str(tmp_path), 64)
    assert not marker.exists()


def test_a_poisoned_download_runs_nothing(tmp_path, poison, marker, monkeypatch):
    """It lies in the caches where torchvision and timm would have put what they fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)

    def cache(file):
        """Cache a file under its digest, as torchvision names it, and make that the expected name."""
        name = f"squeezenet1_1-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
        shutil.copy(file, checkpoints / name)
        monkeypatch.setattr(SqueezeNet1_1_Weights.DEFAULT.value, "url", f"https://server.invalid/{name}")

    cache(poison)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copy(poison, cached / "snapshots" / ("0" * 40) / "pytorch_model.bin")
    for name in ("torchvision:squeezenet1_1", "resnet18"):
        with pytest.raises(WeightsError, match=r"(?i)weights_only|Weights only load failed"):
            build_backbone(name, "pretrained", 64)
    assert not marker.exists()
    torch.save(squeezenet1_1().state_dict(), tmp_path / "weights.pth")
    cache(tmp_path / "weights.pth")  # what is no code is read as ever
    build_backbone("torchvision:squeezenet1_1", "pretrained", 64)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.fixture
def stored(model, tmp_path, marker):  # noqa: F811
    """A model as MLflow stores it, whose code has been tampered with."""
    place = tmp_path / "downloaded"
    mlflow.pyfunc.save_model(
        str(place), loader_module="tampered_loader", data_path=str(model), code_paths=[str(_loader(tmp_path, marker))],
        pip_requirements=[],
    )  # fmt: skip
    shutil.move(place / "data" / model.name, place / "data" / "ensemble.away")
    (place / "data" / "ensemble.away").rename(place / "data" / "ensemble")
    (place / "code" / "trainables" / "core").mkdir(parents=True)
    for file in ("trainables/__init__.py", "trainables/core/__init__.py", "sitecustomize.py", "conftest.py"):
        (place / "code" / file).write_text(Payload(marker).source())
    for file in ("python_model.pkl", "data/ensemble/model.pkl", "data/ensemble/member-0/model.pt"):
        (place / file).write_bytes(Payload(marker).pickled())
    return place


def _loader(tmp_path, marker):
    (tmp_path / "tampered_loader.py").write_text(Payload(marker).source() + "def _load_pyfunc(path): return None\n")
    return tmp_path / "tampered_loader.py"


def test_code_stored_with_a_model_is_not_run_by_tune_predict(stored, tmp_path, marker):
    (tmp_path / "a.png").write_bytes(png(np.zeros((9, 9), np.uint8)))
    arguments = [str(stored), str(tmp_path / "a.png"), "--out", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "1 of 1 image scored" in done.output
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017 - it gives no model: it only had to run
        mlflow.pyfunc.load_model(str(stored))
    assert marker.exists()  # MLflow's own loader does run it: that trust is what SECURITY.md tells of


@pytest.mark.parametrize("named", ["../elsewhere", "/{outside}", "linked", ".", "member-0/../../elsewhere"])
def test_a_model_is_what_lies_in_its_folder_and_under_its_digest(model, tmp_path, named):  # noqa: F811
    place = tmp_path / "model"
    shutil.copytree(model, place)
    shutil.copytree(model / "member-0", tmp_path / "elsewhere")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    manifest = json.loads((place / "ensemble.json").read_text())
    manifest["members"] = [named.format(outside=tmp_path / "elsewhere")]
    (place / "ensemble.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="must name folders beside it"):
        open_ensemble(place, torch.device("cpu"))


def test_a_poisoned_store_runs_nothing(tmp_path, marker):
    """The node's store may be shared between users."""
    entry = tmp_path / "store" / "key"
    entry.mkdir(parents=True)
    np.save(entry / "a.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    (entry / ".entry").touch()

    def write(folder):
        write_array(folder / "a.npy", (2,), np.dtype(np.uint8), [np.array([1, 2], np.uint8)])

    found = Store(tmp_path / "store", 10**6).read("key", write, lambda folder: map_array(folder / "a.npy"), 100)
    assert found.tolist() == [1, 2]
    assert not marker.exists()


def test_a_poisoned_parquet_file_runs_nothing(tmp_path, marker):
    """Arrow once unpickled an extension type's description (CVE-2023-47248)."""
    write_parquet(tmp_path / "plain.parquet", [png(np.zeros((9, 9), np.uint8))] * 4)
    table = pq.read_table(tmp_path / "plain.parquet")
    described = {b"ARROW:extension:name": b"arrow.py_extension_type",
                 b"ARROW:extension:metadata": Payload(marker).pickled()}  # fmt: skip
    labels = pa.field("label", pa.int64(), metadata=described)
    table = table.append_column(labels, pa.array([0, 0, 1, 1]))
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    assert len(open_source(str(tmp_path / "data"))) == 4
    assert not marker.exists()


def test_images_start_no_programs(tmp_path, marker, monkeypatch):
    """Pillow gives EPS files, whatever they are called, to Ghostscript."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nmkdir -p {marker}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(DataError, match="unknown format"):
        decode(eps, 9, PixelFormat(1, 255))
    assert not marker.exists()


@pytest.mark.faults
@pytest.mark.ray
def test_a_folder_of_modules_shadows_nothing(tmp_path, marker):
    """A command that is started within a downloaded folder imports nothing from there, nor do its workers."""
    for name in ("optuna", "torch", "timm", "ray", "yaml", "search_spaces", "trainables", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(Payload(marker).source())
    command = "import sys; sys.argv[0] = 'tune-run'; from tuning.cli.run import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", command, "demo_space", *SMALL, "--max-epochs", "1", "--num-samples", "1"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert not marker.exists()
    assert done.returncode == 0, done.stderr
    assert "Registered: models:/demo_space@champion" in done.stdout


def test_the_payload_is_live(marker):
    pickle.loads(Payload(marker).pickled())
    assert marker.exists()
