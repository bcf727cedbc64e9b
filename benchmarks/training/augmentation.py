"""Images per CPU second of each augmentation policy: whole batches as tensors against albumentations, on one thread.

Both augment the same batches of 64 synthetic grey or colour images for a network with an input of 128 pixels, in turns,
with their draws included. A GPU augments batches; the CPU uses albumentations, whatever the ratios are.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.record import Row, record
from trainables.core.data.augment.augmenter import Augmenter
from trainables.core.data.augment.batched.batch_augmenter import BatchAugmenter
from trainables.core.data.augment.policies import POLICIES, PolicyOptions, source_size
from trainables.core.data.batches import Batch, Shown, Table, augmented_batches, augmented_on_device

SIZE, BATCH = 128, 64
CHANNELS = {"grey": 1, "colour": 3}


def main(images: Annotated[int, typer.Option(min=BATCH)] = 512, runs: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    rows, details = [], {}
    for colours, channels in CHANNELS.items():
        for policy in POLICIES:
            if policy == "none":
                continue
            speeds = np.array(_speeds(policy, channels, images, runs))
            name = f"{policy}, {colours}"
            ratio = statistics.median(speeds[:, 1] / speeds[:, 0])
            rows.append(Row(f"{name}: batches / albumentations", ratio, "", None))
            details[name] = dict(zip(("albumentations", "batches"), speeds.T.tolist(), strict=True))
    record("augmentation", rows, {"images per CPU second": details})


def _speeds(policy: str, channels: int, images: int, runs: int) -> list[tuple[float, float]]:
    """Return the images per CPU second of albumentations and of whole batches for each run, after a warm-up."""
    side, options, cpu = source_size(policy, SIZE), PolicyOptions(SIZE), torch.device("cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, channels), dtype=np.uint8)
    labels, shown = np.zeros(images, dtype=np.int64), Shown.of(np.arange(images))
    table = Table(torch.from_numpy(pixels), torch.from_numpy(labels))
    single, whole = Augmenter(policy, options, seed=0), BatchAugmenter(policy, options, seed=0)
    speeds = [
        (
            images / _cpu_seconds(augmented_batches(pixels, labels, shown, BATCH, single, epoch, threads=1)),
            images / _cpu_seconds(augmented_on_device(table, shown, BATCH, whole, epoch, cpu)),
        )
        for epoch in range(runs + 1)
    ]
    return speeds[1:]


def _cpu_seconds(batches: Iterator[Batch]) -> float:
    started = time.process_time()
    for _ in batches:
        pass
    return time.process_time() - started


if __name__ == "__main__":
    typer.run(main)
