"""Start-up cost of the second search on the same data: images decoded, and seconds to the first batch.

Uses all brain MRI images at 128 px. The first ``prepare`` decodes into an empty cache; the second runs in another
process, where calls of the decoder are counted. Then a worker with all modules imported builds a trial (resnet18,
random weights) up to its first batch on the device.
"""

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq

import trainables.core.data.dataset
from benchmarks.data.images import mri, source_name
from benchmarks.record import at_most, record
from benchmarks.training.frozen_cache import config
from trainables.core.data.dataset import Dataset
from trainables.core.data.prepare import prepare
from trainables.core.device import resolve_device
from trainables.core.training.tasks.classification import Classification

SIZE = 128
GOAL_S = 1.0


def main() -> None:
    """Measure and record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        for split in ("train", "test"):
            pq.write_table(mri(split), folder / "data" / f"{split}-00000-of-00001.parquet")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            first = pool.submit(counted_prepare, folder).result()
        # The first of two starts imports modules and is not counted.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            second = pool.submit(counted_prepare, folder).result()
            start = min(pool.submit(seconds_to_first_batch, folder).result() for _ in range(2))
    rows = [
        at_most("images decoded by the second search", second[0], 0),
        at_most("start of a trial to its first batch, s", start, GOAL_S),
    ]
    record("decoding", rows, {"images": source_name(), "decoded": [first[0], second[0]], "s": [first[1], second[1]]})


def counted_prepare(folder: Path) -> tuple[int, float]:
    """Return the number of decoded images and the seconds that ``prepare`` took."""
    decode = mock.Mock(side_effect=trainables.core.data.dataset.decode)
    with mock.patch.object(trainables.core.data.dataset, "decode", decode):
        started = time.perf_counter()
        _prepare(folder)
        return decode.call_count, time.perf_counter() - started


def seconds_to_first_batch(folder: Path) -> float:
    """Return the seconds from a trial's configuration to its first batch."""
    data = _prepare(folder)
    started = time.perf_counter()
    task = Classification(config(0, epochs=1), data, resolve_device("auto"))
    next(task.train_batches(1))
    return time.perf_counter() - started


def _prepare(folder: Path) -> Dataset:
    return prepare(str(folder / "data"), sizes=[SIZE], seed=0, store=folder / "store")


if __name__ == "__main__":
    main()
