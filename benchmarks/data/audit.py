"""Time and memory of comparing all images of a data set with each other, as the audit does.

Measured on 3,000 and 6,000 phantoms, which form groups. Memory grows with the number of images. Time is that of all CPU
cores, and is extrapolated to 100,000 images as the sum of a linear and a quadratic part: registration grows with the
number of images, comparison with its square. Memory is that of the process without mapped files, which the system can
drop at any time.

    python -m benchmarks.data.audit
"""

import re
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.record import Row, at_most, record
from trainables.core.data.readers.phantoms import SLICES_PER_SUBJECT, make_phantoms
from trainables.core.data.splits.copies import DETAIL_SIDE, find_copies
from trainables.core.data.splits.groups import group_by_similarity
from trainables.core.node_cache import write_array

COUNTS = (3_000, 6_000)
MANY = 100_000


def main() -> int:
    """Measure and record; return 1 if the goal was missed."""
    # Memory that one measurement freed would count for the next one in the same process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        measured = list(processes.map(_measured, COUNTS))
    seconds, peaks = zip(*measured, strict=True)
    memory = max(_linear(*of_part) for of_part in zip(*peaks, strict=True)) / 1e9
    hours = [_extrapolated(*times) / 3600 for times in zip(*seconds, strict=True)]
    rows = [
        Row("6,000 images: CPU seconds to find copies", seconds[1][0], "", None),
        Row("6,000 images: CPU seconds to compare all pairs", seconds[1][1], "", None),
        at_most("100,000 images: GB of memory, extrapolated", memory, 4),
        Row("100,000 images: CPU hours to find copies, extrapolated", hours[0], "", None),
        Row("100,000 images: CPU hours to compare all pairs, extrapolated", hours[1], "", None),
    ]
    record("audit", rows, {"images": COUNTS, "cpu_seconds": seconds, "peak_bytes": peaks})
    return 0 if rows[2].met else 1


def _measured(count: int) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return the CPU seconds and the peaks of memory of both parts: finding copies, and comparing all pairs."""
    phantoms = make_phantoms(subjects=count // SLICES_PER_SUBJECT)
    labels, side = phantoms.labels, phantoms.images.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        small, larger = Path(folder) / "small.npy", Path(folder) / "larger.npy"
        for file, width in ((small, side), (larger, DETAIL_SIDE)):
            resized = (cv2.resize(image, (width, width)) for image in phantoms.images)
            write_array(file, (count, width, width, 1), np.dtype(np.uint8), resized)
        del phantoms  # a search's images are mapped files, too
        started = time.process_time()
        with Peak() as searching:
            copies = find_copies(np.load(larger, mmap_mode="r"), np.arange(count))
        registered = time.process_time()
        with Peak() as comparing:
            group_by_similarity(np.load(small, mmap_mode="r"), np.arange(count), labels, copies=copies)
    seconds = registered - started, time.process_time() - registered
    return seconds, (searching.bytes, comparing.bytes)


def _linear(few: float, many: float) -> float:
    """Return the memory for MANY images from that for COUNTS."""
    return many + (many - few) / (COUNTS[1] - COUNTS[0]) * (MANY - COUNTS[1])


def _extrapolated(few: float, many: float) -> float:
    """Return the seconds for MANY images from those for COUNTS. Noise must not give a negative quadratic part."""
    small, large = COUNTS
    quadratic = max(0.0, (many / large - few / small) / (large - small))
    return (many / large + quadratic * (MANY - large)) * MANY


class Peak(threading.Thread):
    """Samples the memory of this process without mapped files. ``bytes`` is the largest value seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._ended = 0, threading.Event()

    def run(self) -> None:
        """Sample until the block ends."""
        while not self._ended.wait(0.05):
            match = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
            self.bytes = max(self.bytes, 1024 * int(match[1]) if match else 0)

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self.join()


if __name__ == "__main__":
    sys.exit(main())
