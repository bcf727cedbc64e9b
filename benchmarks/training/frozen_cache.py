"""Speed-up by the cache for outputs of frozen stages.

Uses resnet18 at 128 px with random weights, no augmentation, and one thread. With all stages frozen, epochs after the
first are timed with and without the cache. With half of the stages frozen, they are compared with a bare loop over the
other stages, whose inputs are in memory. Finally, calls of frozen stages are counted in a second process.
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

from benchmarks.data.images import mri, source_name
from benchmarks.record import at_least, at_most, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.models.backbones.backbone import Backbone, stage_count
from trainables.core.models.frozen_cache import FrozenCache
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

IMAGES, SIZE, BACKBONE = 800, 128, "resnet18"
GOAL_ALL, GOAL_HALF = 30.0, 0.9


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    stages = stage_count(BACKBONE)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(mri("train").slice(0, IMAGES), Path(folder) / "train-00000-of-00001.parquet")
        data = prepare(folder, sizes=[SIZE], seed=0, store=Path(folder) / "store")
        everything, half = config(stages, epochs=20), config(stages // 2, epochs=20)
        all_ratios = _ratios(everything, data, pairs=2)
        shares = _shares_of_bare_speed(half, data, pairs=3)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            calls = {
                "all frozen": pool.submit(frozen_calls, everything, data).result(),
                "another precision, not cached": pool.submit(frozen_calls, config(stages, 1, "bf16"), data).result(),
            }
    rows = [
        at_least("all stages frozen: epoch without the cache / with it", statistics.median(all_ratios), GOAL_ALL),
        at_least("half of the stages frozen: bare epoch / epoch", statistics.median(shares), GOAL_HALF),
        at_most("calls of frozen stages by a second process", calls["all frozen"], 0),
    ]
    details = {"without / with": all_ratios, "bare epoch / epoch": shares, "calls": calls}
    record("frozen_cache", rows, {"images": source_name(), **details})


def config(depth: int, epochs: int, precision: str = "auto") -> TrainConfig:
    """Return the configuration of a linear head on a backbone with ``depth`` frozen stages."""
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
    cached, recomputed = fit(config, data), fit(config, data)
    next(cached)  # fills the cache
    return [_without_cache(recomputed) / _seconds(cached) for _ in range(pairs)]


def _shares_of_bare_speed(config: TrainConfig, data: Dataset, pairs: int) -> list[float]:
    cached, bare = fit(config, data), _bare_epochs(config, data)
    next(cached)
    next(bare)
    return [_seconds(bare) / _seconds(cached) for _ in range(pairs)]


def _seconds(epochs: Iterator[object]) -> float:
    started = time.perf_counter()
    next(epochs)
    return time.perf_counter() - started


def _without_cache(epochs: Iterator[object]) -> float:
    with mock.patch.object(FrozenCache, "table", lambda *_: None):
        return _seconds(epochs)


def _bare_epochs(config: TrainConfig, data: Dataset) -> Iterator[None]:
    """Run bare epochs: forward, backward and step of the stages that are not frozen, with their inputs in memory."""
    torch.manual_seed(0)
    model = build_classifier(config, len(data.class_names)).to(memory_format=torch.channels_last)
    pixels, labels = torch.from_numpy(data.images(config.image_size).copy()), torch.from_numpy(data.labels)
    sides = []
    with torch.no_grad():
        model.eval()
        for split in ("fit", "tune"):
            rows = torch.from_numpy(data.splits[split]).split(config.batch_size)
            sides.append([(model.run_frozen(pixels[part]), labels[part]) for part in rows if len(part) > 1])
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    while True:
        model.train()
        for inputs, targets in sides[0]:
            cross_entropy(model.run_trainable(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode():
            for inputs, _ in sides[1]:
                model.run_trainable(inputs)
        yield


def frozen_calls(config: TrainConfig, data: Dataset) -> int:
    """Return the number of frozen stages that the first epoch of a trial runs."""
    calls = []
    original = Backbone.run_frozen

    def counted(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
        calls.append(backbone.frozen_depth)
        return original(backbone, images)

    with mock.patch.object(Backbone, "run_frozen", counted):
        next(fit(config, data))
    return sum(calls)


if __name__ == "__main__":
    main()
