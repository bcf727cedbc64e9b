"""A greedy soup against the best network and the ensemble of the same trials, on real images.

Three data sets (of ``curves.data_sets``) with 160 images to train on, MobileNetV2 with ImageNet weights, 64 pixels, one
CPU thread. A search is 8 trials of 6 epochs: AdamW, cosine schedule, linear heads; learning rate, weight decay, layer
decay, freeze depth, class weights, label smoothing, dropout and flips are drawn at random. All models are chosen on
``select`` by balanced accuracy, as ``tune-ensemble --soup`` does, and scored on ``test``. The ensemble is chosen from
the best 5 trials.

    python -m benchmarks.training.soups --searches 2

``$TUNE_RUN_DATA`` names the folder of the data sets and of ``weights/``. Finished searches are appended to a file of
JSON lines and are not repeated, so the command can be interrupted.
"""

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.trials import EpochRecord, TrialRecord, best_first
from benchmarks.curves.data_sets import DATA_SETS, FOLDER, IMAGE_SIZE, SPLIT_SEED, cut_splits
from benchmarks.curves.record import append_line, read_lines, remove_torn_line
from benchmarks.record import Row, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.metric_names import is_better
from trainables.core.models.checkpoints.checkpoint import Checkpoint, save_checkpoint
from trainables.core.node_cache import STORE_VARIABLE
from trainables.core.seeds import derive_seed
from trainables.core.training.fit import fit
from trainables.worker.checkpoint_io import FOLDER as CHECKPOINT
from trainables.worker.inference import infer_here
from tuning.ensemble.build import choose_ensemble, score_on_test
from tuning.ensemble.members import EnsembleRequest
from tuning.ensemble.soup.choose_soup import SoupRequest, choose_soup

NAMES = ("chest_xray", "tissue", "tb")
METRIC, TRIALS, EPOCHS, MEMBERS = "balanced_accuracy", 8, 6, 5
MOST = {"fit": 160, "tune": 80, "select": 300, "test": 400}
BACKBONE, FREEZE_DEPTHS = "torchvision:mobilenet_v2", (2, 3, 4)  # of 5 stages


def main() -> None:
    """Run the searches that are missing, and record the differences on ``test``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=2, help="searches on each data set")
    parser.add_argument("--output", type=Path, default=Path("soups"), help="folder of finished searches and caches")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(STORE_VARIABLE, str(arguments.output / "store"))
    file = arguments.output / "searches.jsonl"
    remove_torn_line(file)
    wanted = [(name, seed) for seed in range(arguments.searches) for name in NAMES]
    for name, seed in wanted:
        if (name, seed) not in {(line["data_set"], line["seed"]) for line in read_lines(file)}:
            line = search(name, seed)
            append_line(file, line)
            print(line, flush=True)
    done = [line for line in read_lines(file) if (line["data_set"], line["seed"]) in wanted]
    record("soups", rows_of(done), {"searches": done})


def search(name: str, seed: int) -> dict[str, Any]:
    """Train the trials of a search, and return the scores of its models."""
    started = time.process_time()
    data = prepare(str(FOLDER / name), sizes=[IMAGE_SIZE], seed=SPLIT_SEED, **DATA_SETS[name])
    data, request = cut_splits(data, MOST), EnsembleRequest(METRIC, k=MEMBERS)
    infer = partial(infer_here, data)
    with tempfile.TemporaryDirectory() as folder:
        trials = best_first([train(number, seed, data, folder) for number in range(TRIALS)], METRIC)
        ensemble = choose_ensemble(trials[:MEMBERS], data, request, infer)
        chosen = choose_soup(SoupRequest(trials, data, request, infer, folder), ensemble)
        names = zip(("single", "soup", "ensemble"), chosen.contenders, strict=True)
        scores = {
            label: {
                "select": round(model.chosen.comparison.score, 4),
                "test": round(score_on_test(model.chosen, data, infer).ensemble.metrics[METRIC], 4),
            }
            for label, model in names
        }
    return {
        "data_set": name,
        "seed": seed,
        "images": {split: len(rows) for split, rows in data.splits.items()},
        "ingredients": len(chosen.soup.ingredients),
        "members": len(ensemble.voters),
        "optimistic": round(chosen.soup.score, 4),
        "scores": scores,
        "cpu_seconds": round(time.process_time() - started),
    }


def train(number: int, seed: int, data: Dataset, folder: str) -> TrialRecord:
    """Train one trial in full, and save the checkpoint of its best epoch on ``tune``."""
    config = TrainConfig.from_dict(configuration(number, seed))
    best, place = None, Path(folder) / "session" / f"trial-{number}" / "checkpoint_0"
    for epoch in fit(config, data):
        score = epoch.metrics[f"tune/{METRIC}"]
        if is_better(METRIC, score, best and best.metrics[f"best_{METRIC}"]):
            kept = place.with_name(f"checkpoint_{epoch.epoch}")
            checkpoint = Checkpoint(
                epoch.state, config, data.class_names, data.pixel_format, {}, data.kind, data.ordered
            )
            save_checkpoint(kept / CHECKPOINT, checkpoint)
            best = EpochRecord(epoch.epoch, {"best_epoch": epoch.epoch, f"best_{METRIC}": score}, 0, str(kept))
    assert best is not None
    return TrialRecord(number, "COMPLETE", {}, config.to_dict(), (best,), None, ())


def configuration(number: int, seed: int) -> dict[str, Any]:
    """Draw a configuration."""
    generator = np.random.default_rng([seed, number])
    return {
        "backbone": BACKBONE,
        "weights": str(FOLDER / "weights"),
        "image_size": IMAGE_SIZE,
        "freeze_depth": int(generator.choice(FREEZE_DEPTHS)),
        "head": "linear",
        "head_dropout": float(generator.choice([0.0, 0.2, 0.4])),
        "optimizer": "adamw",
        "lr": float(10 ** generator.uniform(-3.5, -2.5)),
        "weight_decay": float(10 ** generator.uniform(-4, -1)),
        "layer_decay": float(generator.choice([0.7, 0.8, 0.9, 1.0])),
        "schedule": "cosine",
        "warmup_ratio": 0.1,
        "class_weights": str(generator.choice(["none", "balanced"])),
        "label_smoothing": float(generator.choice([0.0, 0.05, 0.1])),
        "augmentation": str(generator.choice(["none", "flip"])),
        "batch_size": 16,
        "epochs": EPOCHS,
        "seed": derive_seed(seed, number),
        "device": "cpu",
    }


def rows_of(done: list[dict[str, Any]]) -> list[Row]:
    """Return the mean test scores of the models, in percent, and the optimism of the soup's score on ``select``."""
    means = {
        label: 100 * float(np.mean([line["scores"][label]["test"] for line in done]))
        for label in ("single", "soup", "ensemble")
    }
    optimism = 100 * float(np.mean([line["optimistic"] - line["scores"]["soup"]["select"] for line in done]))
    count = f"mean of {len(done)} searches"
    return [
        Row(f"best network, test, {count}", means["single"], "", None),
        Row(f"greedy soup, test, {count}", means["soup"], "", None),
        Row(f"ensemble, test, {count}", means["ensemble"], "", None),
        Row("optimism of the soup's score on all of select", optimism, "", None),
    ]


if __name__ == "__main__":
    main()
