"""The frozen-prefix store: epochs with it against the same epochs without, and against the limit.

resnet18 at 128 px, random weights, no augmentation, one thread. With every stage frozen, the time of an epoch after the
first; with half of them frozen, also the limit: a bare loop over the unfrozen stages, their inputs in memory. Then a
second trial in a process of its own, its calls of frozen stages counted.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy

from benchmarks.images import mri, source_name
from benchmarks.record import at_least, at_most, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.models.backbones.backbone import Backbone, stage_count
from trainables.core.models.frozen_cache import FrozenPrefix
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

IMAGES, SIZE, BACKBONE = 800, 128, "resnet18"
GOAL_ALL, GOAL_HALF = 30.0, 0.9


def main() -> None:
    """Takes and records all of it."""
    torch.set_num_threads(1)
    stages = stage_count(BACKBONE)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(mri("train").slice(0, IMAGES), Path(folder) / "train-00000-of-00001.parquet")
        data = prepare(folder, sizes=[SIZE], seed=0, store=Path(folder) / "store")
        everything, half = config(stages, epochs=20), config(stages // 2, epochs=20)
        all_ratios = _ratios(everything, data, pairs=2)
        shares = _shares_of_the_limit(half, data, pairs=3)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            calls = {
                "all frozen": pool.submit(frozen_calls, everything, data).result(),
                "another precision, not stored": pool.submit(frozen_calls, config(stages, 1, "bf16"), data).result(),
            }
    rows = [
        at_least("all stages frozen: an epoch without the store / with it", statistics.median(all_ratios), GOAL_ALL),
        at_least("half of them frozen: the limit / an epoch", statistics.median(shares), GOAL_HALF),
        at_most("calls of frozen stages by a second process", calls["all frozen"], 0),
    ]
    details = {"without / with": all_ratios, "limit / epoch": shares, "calls": calls}
    record("prefix", rows, {"images": source_name(), **details})


def config(depth: int, epochs: int, precision: str = "auto") -> TrainConfig:
    """A linear head on a backbone whose first stages are frozen."""
    return TrainConfig.from_dict(
        {
            "backbone": BACKBONE,
            "weights": "random",
            "image_size": SIZE,
            "freeze_depth": depth,
            "head": "linear",
            "optimizer": "adamw",
            "lr": 1e-4,
            "batch_size": 32,
            "epochs": epochs,
            "precision": precision,
            "device": "cpu",
        }
    )


def _ratios(config: TrainConfig, data: Dataset, pairs: int) -> list[float]:
    stored, recomputed = fit(config, data), fit(config, data)
    next(stored)  # fills the store
    return [_without_store(recomputed) / _seconds(stored) for _ in range(pairs)]


def _shares_of_the_limit(config: TrainConfig, data: Dataset, pairs: int) -> list[float]:
    stored, limit = fit(config, data), _unfrozen_epochs(config, data)
    next(stored)
    next(limit)
    return [_seconds(limit) / _seconds(stored) for _ in range(pairs)]


def _seconds(epochs: Iterator[object]) -> float:
    started = time.perf_counter()
    next(epochs)
    return time.perf_counter() - started


def _without_store(epochs: Iterator[object]) -> float:
    with mock.patch.object(FrozenPrefix, "table", lambda *_: None):
        return _seconds(epochs)


def _unfrozen_epochs(config: TrainConfig, data: Dataset) -> Iterator[None]:
    """The bare loop: forward, backward and step of what is not frozen, its inputs in memory."""
    torch.manual_seed(0)
    model = build_classifier(config, len(data.class_names)).to(memory_format=torch.channels_last)
    pixels, labels = torch.from_numpy(data.images(config.image_size).copy()), torch.from_numpy(data.labels)
    sides = []
    with torch.no_grad():
        model.eval()
        for split in ("fit", "tune"):
            rows = torch.from_numpy(data.splits[split]).split(config.batch_size)
            sides.append([(model.prefix(pixels[part]), labels[part]) for part in rows if len(part) > 1])
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    while True:
        model.train()
        for inputs, targets in sides[0]:
            cross_entropy(model.rest(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode():
            for inputs, _ in sides[1]:
                model.rest(inputs)
        yield


def frozen_calls(config: TrainConfig, data: Dataset) -> int:
    """How often a trial's first epoch runs a frozen stage."""
    calls = []
    original = Backbone.prefix

    def counted(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
        calls.append(backbone.frozen_depth)
        return original(backbone, images)

    with mock.patch.object(Backbone, "prefix", counted):
        next(fit(config, data))
    return sum(calls)


if __name__ == "__main__":
    main()
