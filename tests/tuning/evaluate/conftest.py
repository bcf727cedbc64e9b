"""A small model with an operating point, as MLflow stores one, and images of another hospital."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.images import png, write_classes
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.models.checkpoints.checkpoint import Checkpoint
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.ensemble import load_ensemble, save_ensemble
from trainables.core.serving.operating_point import IMAGE, PATIENT, OperatingPoint
from trainables.core.serving.training_features import TrainingFeatures
from trainables.core.training.fit import fit

NAMES = ("ill", "normal")


@dataclass(frozen=True)
class Trained:
    """A trained checkpoint and the data set of its search."""

    checkpoint: Checkpoint
    data: Dataset

    def save(self, place: Path, features: TrainingFeatures | None = None, **metadata: object) -> Path:
        """Store the model, and return its folder."""
        points = tuple(OperatingPoint("ill", 0, False, 0.45, "youden", unit) for unit in (IMAGE, PATIENT))
        combination = Combination("mean", (1.0,), (1.0,), points=points)
        save_ensemble(place / "data" / "ensemble", [[self.checkpoint]], combination, training_features=features)
        known = {"data": self.data.place, "data_fingerprint": self.data.fingerprint, "data_table": None}
        described = {"metadata": {**known, "metric": "auroc", "healthy": "normal", **metadata}}
        (place / "MLmodel").write_text(yaml.safe_dump({**described, "flavors": {}}))
        return place


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Grey images of noise whose brightness depends a little on the class."""
    place = write_classes(tmp_path_factory.mktemp("first hospital") / "images", {"ill": 40, "normal": 40})
    data = prepare(str(place), sizes=[16], seed=0, healthy="normal", store=tmp_path_factory.mktemp("store"))
    base = {"backbone": "scratch_cnn", "weights": "random", "head": "linear", "optimizer": "adam", "lr": 1e-3}
    config = TrainConfig.from_dict(base | {"image_size": 16, "batch_size": 16, "epochs": 1, "device": "cpu"})
    checkpoint = Checkpoint(next(fit(config, data)).state, config, NAMES, data.pixel_format, {}, data.kind)
    return Trained(checkpoint, data)


@pytest.fixture(scope="session")
def model(trained, tmp_path_factory) -> Path:
    """The folder of the model, with features of its training images."""
    place = tmp_path_factory.mktemp("model")
    plain = load_ensemble(trained.save(place / "plain") / "data" / "ensemble", torch.device("cpu"))
    features = plain.features([image[:, :, 0] for image in trained.data.images(32)])
    known = TrainingFeatures.of([features], [features], np.arange(80), np.ones(80, dtype=bool))
    return trained.save(place / "known", known)


@pytest.fixture(scope="session")
def second(tmp_path_factory) -> Path:
    """A folder of 120 images of 60 patients, with ``labels.csv``; brightness says less about the class than it did."""
    folder, generator = tmp_path_factory.mktemp("second hospital"), np.random.default_rng(7)
    lines = ["image,finding,patient_id,site,age"]
    for index in range(120):
        patient = index // 2
        ill = patient % 2 == 0
        pixels = generator.integers(0, 90, (32, 32)) + (20 if ill else 45) + int(25 * generator.normal())
        (folder / f"{index:03}.png").write_bytes(png(pixels.clip(0, 255).astype(np.uint8)))
        lines.append(f"{index:03},{'TB' if ill else 'normal'},p{patient},{'AB'[patient % 4 // 2]},{20 + patient}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
