"""What comparing all images of a data set with each other takes: time a million pairs, and memory.

Phantoms, so that there are groups to be found; 8,000 and 16,000 of them. Memory grows with the images, time with their
square: the figures of 100,000 images are extrapolated from there.

    python -m benchmarks.audit
"""

import resource
import sys
import time

import numpy as np

from benchmarks.record import Row, at_most, record
from trainables.core.data.readers.phantoms import SLICES_PER_SUBJECT, make_phantoms
from trainables.core.data.splits.groups import group_by_similarity

COUNTS = (8_000, 16_000)
MANY = 100_000


def main() -> int:
    """Measures and records; 1 where a goal was missed."""
    seconds, peaks = [], []
    before = _peak()
    for count in COUNTS:
        phantoms = make_phantoms(subjects=count // SLICES_PER_SUBJECT + 1)
        pixels, labels = phantoms.images[:count, :, :, None], phantoms.labels[:count]
        started = time.perf_counter()
        group_by_similarity(pixels, np.arange(count), labels)
        seconds.append(time.perf_counter() - started)
        peaks.append(_peak() - before)
    pairs = [count * (count - 1) / 2e6 for count in COUNTS]
    an_image = (peaks[1] - peaks[0]) / (COUNTS[1] - COUNTS[0])
    memory = (before + peaks[1] + an_image * (MANY - COUNTS[1])) / 1e9
    hours = seconds[1] * (MANY / COUNTS[1]) ** 2 / 3600
    rows = [
        Row("seconds a million pairs", seconds[1] / pairs[1], "", None),
        at_most("100,000 images: GB of memory, extrapolated", memory, 4),
        Row("100,000 images: hours on this machine, extrapolated", hours, "", None),
    ]
    record("audit", rows, {"images": COUNTS, "seconds": seconds, "peak_bytes": peaks, "before_bytes": before})
    return 0 if rows[1].met else 1


def _peak() -> int:
    """The largest resident memory so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
