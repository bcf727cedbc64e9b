import dataclasses
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from tests.hub import StandIn
from tests.images import write_classes, write_labelled
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.data.readers.tables.label_columns import LabelTable
from trainables.core.data.splits.folds import make_folds
from trainables.core.data.splits.splits import Items

# One thread, as a trial on the CPU has. Results must not depend on it: run the suite with 2 as well (CONTRIBUTING.md).
torch.set_num_threads(int(os.environ.get("TUNE_RUN_TEST_THREADS", "1")))

# By default, Ray's workers yield to every other process, so trials would starve beside another process of tests.
os.environ.setdefault("RAY_worker_niceness", "0")

# No test may fail because the machine is busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: $TUNE_RUN_DATA, else one beside the checkout."""
    folder = Path(os.environ.get("TUNE_RUN_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder} (set TUNE_RUN_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three learnable classes, imbalanced, 120 grey images of 32 pixels."""
    root = write_classes(tmp_path_factory.mktemp("classes"), {"few": 16, "many": 64, "some": 40})
    return prepare(str(root), sizes=[32], seed=0, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def labelled_data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three independent, learnable labels: 160 grey images of 32 pixels, two of each patient."""
    root = write_labelled(tmp_path_factory.mktemp("labelled"), 160)
    table = LabelTable(("labels.csv",))
    return prepare(str(root), table=table, sizes=[32], seed=0, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def folded_data(small_data: Dataset) -> Dataset:
    """The same images in groups of two, divided into three folds and a test split."""
    groups = np.arange(len(small_data.labels)) // 2
    items = Items(small_data.labels, groups, np.full(len(groups), ""), small_data.class_names)
    splits, folds = make_folds(items, np.arange(len(groups)), seed=0, mode="grouped", count=3)
    return dataclasses.replace(small_data, groups=groups, splits=splits, folds=folds)


@pytest.fixture
def config() -> Callable[..., TrainConfig]:
    """A small, fast configuration with changes."""

    def make(**changes: object) -> TrainConfig:
        base = {
            "backbone": "scratch_cnn",
            "weights": "random",
            "image_size": 32,
            "head": "linear",
            "optimizer": "adamw",
            "lr": 3e-3,
            "batch_size": 16,
            "epochs": 3,
            "device": "cpu",
        }
        return TrainConfig.from_dict(base | changes)

    return make


@pytest.fixture
def folder(tmp_path):
    """Where a whole search runs, with images of three classes in ``data``."""
    write_classes(tmp_path / "data", {"few": 24, "many": 80, "some": 40})
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in of the hub, with empty caches of this node and of the libraries."""
    from huggingface_hub import constants

    with StandIn(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)  # for processes; this one has read it already
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        for name, folder in {"HF_HOME": "home", "TORCH_HOME": "torch", "TUNE_RUN_CACHE": "cache"}.items():
            monkeypatch.setenv(name, str(tmp_path / folder))
        for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        _forget_proxies()
        yield server
        _forget_proxies()


def _forget_proxies() -> None:
    """Make the hub's client and urllib read the environment again."""
    from huggingface_hub import close_session

    close_session()
    urllib.request.install_opener(None)  # type: ignore[arg-type]
