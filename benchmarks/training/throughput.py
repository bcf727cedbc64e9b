"""Throughput of ``fit`` in images per second, against a bare loop over tensors in memory.

Both use timm's mobilenetv3_small_050 with random weights at 128 px, and the same batch size, precision, optimizer and
single thread. An epoch is a pass over the training images and a forward pass over ``tune``. The bare loop only does
forward, backward and step: no loading, schedule, metrics or checks. Epochs alternate, so that both see the same load.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import torch
import typer
from torch.nn.functional import cross_entropy

from benchmarks.data.images import mri, source_name
from benchmarks.record import at_least, record
from trainables.core.config import TrainConfig
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.models.networks.classifier import build_classifier
from trainables.core.training.fit import fit

IMAGES, SIZE = 1280, 128
GOAL = 0.97


def main(epochs: Annotated[int, typer.Option(min=2)] = 8) -> None:
    """Time alternating epochs; the first pair is a warm-up and not counted."""
    torch.set_num_threads(1)
    config = TrainConfig.from_dict(
        {
            "backbone": "mobilenetv3_small_050",
            "weights": "random",
            "image_size": SIZE,
            "head": "linear",
            "optimizer": "adamw",
            "lr": 1e-3,
            "batch_size": 32,
            "epochs": epochs,
            "device": "cpu",
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(mri("train").slice(0, IMAGES), Path(folder) / "train-00000-of-00001.parquet")
        data = prepare(folder, sizes=[SIZE], seed=0, store=Path(folder) / "store")
        ours, bare = fit(config, data), bare_epochs(config, data)
        pairs = []
        for _ in range(epochs):
            started = time.perf_counter()
            next(ours)
            between = time.perf_counter()
            next(bare)
            pairs.append((between - started, time.perf_counter() - between))
    images = len(data.splits["fit"]) + len(data.splits["tune"])
    ratios = [bare_s / ours_s for ours_s, bare_s in pairs[1:]]
    speeds = [images / statistics.median(side) for side in zip(*pairs[1:], strict=True)]
    details = {"images": source_name(), "ratios": ratios, "images/s": {"fit": speeds[0], "bare loop": speeds[1]}}
    record("throughput", [at_least("fit / bare loop, images per second", statistics.median(ratios), GOAL)], details)


def bare_epochs(config: TrainConfig, data: Dataset) -> Iterator[None]:
    """Run bare epochs: forward, backward and step over tensors in memory."""
    model = build_classifier(config, len(data.class_names)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    pixels, labels = torch.from_numpy(data.images(config.image_size).copy()), torch.from_numpy(data.labels)
    fit_rows, tune_rows = (torch.from_numpy(data.splits[split]) for split in ("fit", "tune"))
    train = [(pixels[rows], labels[rows]) for rows in fit_rows.split(config.batch_size) if len(rows) > 1]
    tune = [pixels[rows] for rows in tune_rows.split(config.batch_size)]
    while True:
        model.train()
        for inputs, targets in train:
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode():
            for inputs in tune:
                model(inputs)
        yield


if __name__ == "__main__":
    typer.run(main)
