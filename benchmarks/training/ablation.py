"""Ablation of the training: what each treatment of ``TREATMENTS`` adds to one baseline, on real images.

Four data sets of a few hundred images (``curves.data_sets``), EfficientNet-Lite0 with ImageNet weights, 64 pixels, one
CPU thread. With each seed, the baseline and every treatment are trained on each data set. The score of a training is
the mean of its balanced accuracies on ``select`` and on ``test``, at the epoch with the best one on ``tune``. Seeds are
paired: a difference is between two trainings with the same seed on the same images.

    python -m benchmarks.training.ablation --seeds 3

``$TUNE_RUN_DATA`` names the folder of the data sets and of ``weights/``. Finished trainings are appended to a file of
JSON lines and are not repeated, so the command can be interrupted. It takes about 20 minutes of CPU time.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from benchmarks.curves.data_sets import DATA_SETS, FOLDER, IMAGE_SIZE, load_data_set
from benchmarks.curves.record import append_line, read_lines, remove_torn_line
from benchmarks.curves.record_trial import METRIC, record_trial
from benchmarks.record import Row, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.node_cache import STORE_VARIABLE

BASELINE: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "weights": str(FOLDER / "weights"),
    "image_size": IMAGE_SIZE,
    "head": "linear",
    "head_dropout": 0.2,
    "class_weights": "balanced",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-2,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "clip_norm": 1.0,
    "batch_size": 16,
    "epochs": 8,
    "augmentation": "flip",
    "device": "cpu",
}
# Usual strengths. That of L2-SP halves the distance to the pretrained weights in 140 steps at the base rate.
TREATMENTS: dict[str, dict[str, Any]] = {
    "mixup 0.2": {"mixup_alpha": 0.2},
    "cutmix 1.0": {"cutmix_alpha": 1.0},
    "random erasing 0.25": {"random_erasing": 0.25},
    "TrivialAugment": {"augmentation": "trivial_augment"},
    "RandAugment 2 x 9": {"augmentation": "rand_augment"},
    "averaged weights 0.99": {"ema_decay": 0.99},
    "stochastic depth 0.2": {"drop_path_rate": 0.2},
    "head first, 2 epochs": {"head_epochs": 2},
    "L2-SP 5": {"l2_sp": 5.0},
}
NAMES = ("baseline", *TREATMENTS)


def main() -> None:
    """Train what is missing, and record the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind on each data set")
    parser.add_argument("--output", type=Path, default=Path("ablation"), help="folder of finished trainings and caches")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(STORE_VARIABLE, str(arguments.output / "store"))
    file = arguments.output / "trainings.jsonl"
    remove_torn_line(file)
    data = {name: load_data_set(name) for name in DATA_SETS}
    for training in missing(read_lines(file), arguments.seeds):
        append_line(file, train(training, data[training["data_set"]]))
    trainings = [line for line in read_lines(file) if line["seed"] < arguments.seeds]
    scores = scores_of(trainings, arguments.seeds)
    record("ablation", rows_of(scores), details_of(trainings, scores, data))


def missing(done: list[dict[str, Any]], seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the trainings that are not done, seed after seed, so that an interrupted table is balanced."""
    known = {(line["name"], line["data_set"], line["seed"]) for line in done}
    for seed in range(seeds):
        for data_set in DATA_SETS:
            for name in NAMES:
                if (name, data_set, seed) not in known:
                    yield {"name": name, "data_set": data_set, "seed": seed}


def train(training: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Run one training and return it with its score and its CPU seconds."""
    config = TrainConfig.from_dict({**BASELINE, **TREATMENTS.get(training["name"], {}), "seed": training["seed"]})
    trial = record_trial(config, data)
    if trial["failed"]:
        raise RuntimeError(f"{training}: {trial['failed']}")
    best = trial["improvements"][-1]
    score = (best["select"][METRIC] + best["test"][METRIC]) / 2
    seconds = sum(epoch["seconds"] for epoch in trial["epochs"])
    print(
        f"{training['data_set']}, seed {training['seed']}, {training['name']}: {score:.3f}, {seconds:.1f} s", flush=True
    )
    return {**training, "score": score, "best_epoch": best["epoch"], "seconds": round(seconds, 2)}


def scores_of(trainings: list[dict[str, Any]], seeds: int) -> NDArray[np.float64]:
    """Return the (names, data sets, seeds) scores."""
    found = {(line["name"], line["data_set"], line["seed"]): line["score"] for line in trainings}
    return np.array([[[found[name, each, seed] for seed in range(seeds)] for each in DATA_SETS] for name in NAMES])


def mean_interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of (data sets, seeds) differences and its 95% interval, for these data sets and new seeds.

    The variance is that of the seeds within the data sets. Student's t has one degree of freedom less per data set.
    """
    sets, seeds = differences.shape
    error = np.sqrt(differences.var(axis=1, ddof=1).mean() / (sets * seeds))
    reach = float(stats.t.ppf(0.975, sets * (seeds - 1)) * error)
    mean = float(differences.mean())
    return mean, mean - reach, mean + reach


def rows_of(scores: NDArray[np.float64]) -> list[Row]:
    """Return a row per treatment: its mean difference to the baseline in points of balanced accuracy."""
    rows = [Row("score of the baseline, in percent", 100 * float(scores[0].mean()), "", None)]
    for name, score in zip(TREATMENTS, scores[1:], strict=True):
        mean, low, high = (100 * value for value in mean_interval(score - scores[0]))
        rows.append(Row(f"points from {name} (95% interval {low:+.1f} to {high:+.1f})", mean, "", None))
    return rows


def details_of(
    trainings: list[dict[str, Any]], scores: NDArray[np.float64], data: dict[str, Dataset]
) -> dict[str, Any]:
    """Return the setting, the mean scores by data set, and every training."""
    return {
        "baseline": {key: value for key, value in BASELINE.items() if key != "weights"},
        "treatments": TREATMENTS,
        "images": {name: {split: len(rows) for split, rows in each.splits.items()} for name, each in data.items()},
        "cpu_seconds": round(sum(line["seconds"] for line in trainings)),
        "mean_scores": {
            name: dict(zip(DATA_SETS, np.round(score.mean(axis=1), 4).tolist(), strict=True))
            for name, score in zip(NAMES, scores, strict=True)
        },
        "trainings": trainings,
    }


if __name__ == "__main__":
    main()
