"""Results with fixed seeds, to compare two commits to the last digit on one machine.

Record them at one commit and compare at the other:

    python -m benchmarks.fixed_seeds --record before.json
    python -m benchmarks.fixed_seeds --compare before.json

Compared are: splits, folds and groups of the phantoms; metrics and weights after each epoch of three classifiers and a
segmenter; a cross-validation; the chosen ensemble rule and its corrected score; the first configurations of every
search space; and all epochs, the ensemble and the test scores of a search with one trial at a time. Floating-point sums
differ between processors, so a record is valid only on the machine that made it.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from PIL import Image

from analysis.ensembles.compare_rules import compare
from analysis.statistics.resampling import Sample
from search_spaces.space import shipped_spaces
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.training.cross_validation import cross_validate
from trainables.core.training.fit import fit

_SIZE = 32
_BASE = {
    "backbone": "scratch_cnn",
    "weights": "random",
    "image_size": _SIZE,
    "head": "linear",
    "optimizer": "adamw",
    "lr": 3e-3,
    "batch_size": 32,
    "epochs": 3,
    "device": "cpu",
}
_CONFIGS = {
    "augmented": {"augmentation": "medical", "sampler": "weighted", "loss": "focal", "schedule": "cosine"},
    "frozen": {"backbone": "mobilenetv3_small_050", "freeze_depth": 2, "optimizer": "sgd", "normalize": "dataset"},
    "regularised": {"head": "mlp", "head_dropout": 0.5, "class_weights": "balanced", "accumulate_steps": 2},
}
_SEGMENTER = {
    "task": "segmentation",
    "architecture": "unet",
    "backbone": "mobilenetv3_small_050",
    "weights": "random",
    "image_size": 64,
    "optimizer": "adamw",
    "lr": 1e-3,
    "batch_size": 8,
    "epochs": 2,
    "augmentation": "medical",
    "device": "cpu",
}
_SEARCH = ("demo_space", "--address", "local", "--num-samples", "4", "--max-epochs", "3", "--max-concurrent", "1")


def main() -> int:
    """Record or compare; return 1 and list the differences if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--record", type=Path, metavar="FILE", help="JSON file to write")
    action.add_argument("--compare", type=Path, metavar="FILE", help="JSON file that --record wrote on this machine")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    figures = json.loads(json.dumps(dict(_figures())))
    if arguments.record:
        arguments.record.write_text(json.dumps(figures, indent=1))
        return 0
    recorded, figures = _without_notes(json.loads(arguments.compare.read_text())), _without_notes(figures)
    different = [name for name in recorded | figures if recorded.get(name) != figures.get(name)]
    for name in different:
        print(f"different: {name}\n  recorded {recorded.get(name)}\n  now      {figures.get(name)}")
    print(f"{len(figures) - len(different)} of {len(figures)} figures are equal to the last digit")
    return 1 if different else 0


def _without_notes(value: Any) -> Any:
    """Leave sentences out: only figures must stay the same."""
    if isinstance(value, dict):
        return {key: _without_notes(each) for key, each in value.items() if key != "notes"}
    return [_without_notes(each) for each in value] if isinstance(value, list) else value


def _figures() -> Iterator[tuple[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = prepare("phantoms", sizes=[_SIZE], seed=0, store=root / "cache")
        folded = prepare("phantoms", sizes=[_SIZE], seed=0, store=root / "cache", folds=3)
        yield "phantoms", _division(data)
        yield "phantoms in folds", [*_division(folded), [_digest(fold) for fold in folded.folds]]
        for name, changes in _CONFIGS.items():
            yield f"fit, {name}", _epochs(_BASE | changes, data)
        results = cross_validate(TrainConfig.from_dict(_BASE | {"epochs": 1}), folded)
        yield "cross-validation", [result.metrics for result in results if result is not None]
        yield "fit, segmentation", _epochs(_SEGMENTER, _masked_images(root))
        yield "ensemble rules", dataclasses.asdict(_compared_rules())
        yield from _configurations()
        yield from _search(root / "search")


def _division(data: Dataset) -> list[Any]:
    return [data.fingerprint, _digest(data.groups), {name: _digest(rows) for name, rows in data.splits.items()}]


def _epochs(config: dict[str, Any], data: Dataset) -> list[Any]:
    """Train, and return the metrics of every epoch with a digest of all tensors after it."""
    return [
        [epoch.metrics, _digest(*(tensor.numpy() for _, tensor in sorted(epoch.state.tensors.items())))]
        for epoch in fit(TrainConfig.from_dict(config), data)
    ]


def _digest(*arrays: NDArray[Any]) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]


def _masked_images(root: Path) -> Dataset:
    """Write 40 noise images, each with a bright disc and its mask, and prepare them."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for kind in ("images", "masks"):
        (root / "discs" / kind).mkdir(parents=True)
    for index in range(40):
        (row, column), radius = generator.integers(16, 48, 2), generator.integers(8, 14)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        image = generator.integers(0, 120, (64, 64)) + 100 * disc
        Image.fromarray(image.astype(np.uint8)).save(root / "discs" / "images" / f"{index:02d}.png")
        Image.fromarray((255 * disc).astype(np.uint8)).save(root / "discs" / "masks" / f"{index:02d}.png")
    return prepare(str(root / "discs"), sizes=[64], seed=0, store=root / "cache")


def _compared_rules() -> Any:
    """Compare the ensemble rules on five members of random skill and 160 images in 40 groups."""
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 160, p=[0.6, 0.3, 0.1])
    odds = np.exp(generator.normal(size=(5, 160, 3)) + generator.random(5)[:, None, None] * np.eye(3)[labels])
    sample = Sample(labels, np.arange(160) // 4, ("a", "b", "c"), "balanced_accuracy")
    return compare(odds / odds.sum(axis=2, keepdims=True), sample)


def _configurations() -> Iterator[tuple[str, Any]]:
    for space in shipped_spaces():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        yield f"configurations of {space.name}", [space.suggest(study.ask(), space.backbones) for _ in range(5)]


def _search(folder: Path) -> Iterator[tuple[str, Any]]:
    folder.mkdir()
    command = [sys.executable, "-m", "tuning.cli.run", *_SEARCH, "--cpus-per-trial", "1", "--no-report"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TUNE_RUN_CACHE": str(folder / "cache")}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "results" / "demo_space" / "study.journal"))
    study = optuna.load_study(study_name="demo_space", storage=optuna.storages.JournalStorage(journal))
    for trial in study.trials:
        yield f"trial {trial.number}", [trial.state.name, trial.params, trial.values, trial.intermediate_values]
    ensemble = study.user_attrs["ensemble"]
    yield "ensemble", ensemble["built"]
    yield "test scores", ensemble["evaluation"]


if __name__ == "__main__":
    sys.exit(main())
